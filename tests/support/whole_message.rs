//! A message from its beginning to its end.

use aws_key_management::cipher::{Algorithm, CipherError, Context, Direction, Padding};

/// What comes out of a message that goes in in `parts`.
pub fn run(
    algorithm: Algorithm,
    direction: Direction,
    padding: Padding,
    key: &[u8],
    iv: &[u8],
    parts: &[&[u8]],
) -> Result<Vec<u8>, CipherError> {
    let mut context = Context::new(algorithm, direction, padding, key, iv)?;
    let mut output = Vec::new();
    for part in parts {
        let start = output.len();
        output.resize(start + context.update_len(part.len()), 0);
        context.update(part, &mut output[start..])?;
    }
    output.extend_from_slice(&context.finish()?);
    Ok(output)
}
