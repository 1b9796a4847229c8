//! A message from its beginning to its end.

use aws_key_management::cipher::{Algorithm, CipherError, Context, Direction, Padding, Path};

/// What comes out of a message that goes in in `parts`: the same on every path that this CPU has.
pub fn run(
    algorithm: Algorithm,
    direction: Direction,
    padding: Padding,
    key: &[u8],
    iv: &[u8],
    parts: &[&[u8]],
) -> Result<Vec<u8>, CipherError> {
    let on = |path| run_on(Context::new_on(path, algorithm, direction, padding, key, iv)?, parts);
    let expected = on(Path::PORTABLE);
    for path in Path::all() {
        assert_eq!(on(path), expected, "{path}");
    }
    expected
}

fn run_on(mut context: Context, parts: &[&[u8]]) -> Result<Vec<u8>, CipherError> {
    let mut output = Vec::new();
    for part in parts {
        let start = output.len();
        output.resize(start + context.update_len(part.len()), 0);
        context.update(part, &mut output[start..])?;
    }
    output.extend_from_slice(&context.finish()?);
    Ok(output)
}
