//! The Python environment that the emulator runs in.

use std::path::PathBuf;

use anyhow::{Context, Result};
use duct::cmd;

use crate::machine::paths;
use crate::{run, terminal};

/// Makes the environment if it is missing or outdated.
pub fn ensure() -> Result<()> {
    let requirements = ::kms_emulator::scripts().join("requirements.txt");
    let wanted =
        std::fs::read_to_string(&requirements).with_context(|| format!("reading {}", requirements.display()))?;
    // Written last, so that an interrupted installation is begun anew.
    let done = environment().join("installed-requirements.txt");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let home = paths::emptied(&environment())?;
    terminal::step(format_args!("Installing the KMS emulator (moto) into {}", paths::short(&home)));
    // The system's own Python, to which the package python3-venv belongs.
    run::quietly("python3 -m venv", &cmd!("/usr/bin/python3", "-m", "venv", &home))?;
    let pip = cmd!(python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements);
    run::quietly("pip install", &pip)?;
    std::fs::write(&done, wanted).with_context(|| format!("writing {}", done.display()))
}

/// The environment's folder.
pub fn environment() -> PathBuf {
    paths::target().join("kms-emulator")
}

/// Its interpreter.
pub fn python() -> PathBuf {
    environment().join("bin/python")
}
