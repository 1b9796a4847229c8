//! The benchmarks from begin to end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use plugin_host::KeyVersion;
use plugin_host::server_aes::ServerAes;

use crate::aes::case::Case;
use crate::aes::{self, Inlining, limit};
use crate::docs::{self, Measured};
use crate::key_files::{self, Stage, ctr_key};
use crate::lookup::{self, Question};
use crate::machine::{self, Cpu};
use crate::pairs::Plan;
use crate::rotation;

/// What to do.
#[derive(Debug)]
pub struct Request {
    /// The plugin's library, built with the feature `mock`.
    pub plugin: PathBuf,
    /// The library of the server's plugin.
    pub file_key_management: PathBuf,
    /// Where to write the tables and the chart.
    pub docs: Option<PathBuf>,
    /// Only what can be told on a busy machine: right answers, inlining, no waiting, bytes written.
    pub smoke: bool,
    /// Whether to measure AES.
    pub aes: bool,
    /// Whether to measure look-ups.
    pub lookup: bool,
    /// Whether to measure rotations.
    pub rotation: bool,
}

/// Prints figures as they come. `false` if the plugin is not as it must be, which has been said; a target that is only
/// missed is reported too, but no failure.
pub fn run(request: &Request) -> Result<bool> {
    let mut good = true;
    if request.aes {
        good &= aes(request)?;
    }
    if request.lookup {
        good &= lookup(request)?;
    }
    if request.rotation {
        good &= rotation(request)?;
    }
    Ok(good)
}

fn aes(request: &Request) -> Result<bool> {
    let stage = Stage::new()?;
    let keys = key_files::keys(AES_KEYS);
    let (server, plugin) = (ServerAes::load(), stage.plugin(&request.plugin, &keys)?);
    let measured = measured(plugin.version())?;
    let path = std::env::var(AES_PATH).ok();
    println!("AES beside the server's, on {}\n{measured}\n", path.as_deref().unwrap_or("the CPU's fastest path"));
    let cbc = plugin.cipher(KeyVersion { id: 1, version: 1 })?;
    let sides = aes::Sides { server, cbc, ctr: plugin.cipher(ctr_key(&keys))? };
    // On another path a good build has another ratio.
    let inlining =
        if path.is_some() { Inlining::Unknown } else { aes::check_inlining(&sides, &measured.cpu, INLINING_PLAN)? };
    if request.smoke {
        let cases = Case::all().filter(|case| case.threads == 1);
        let compared = cases.map(|case| sides.compare(&sides.message(case)?)).collect::<Result<Vec<()>>>()?;
        println!("{} kinds of messages: the plugin's bytes are the server's", compared.len());
    } else {
        let figures = measure_aes(&sides, path.as_deref().or(limit::fastest()).unwrap_or_default())?;
        println!("\n{}", docs::aes::verdict(&measured.cpu, &figures));
        if let Some(folder) = &request.docs {
            write(folder, "aes-benchmark.md", &docs::aes::document(&measured, &figures))?;
            write(folder, "aes-benchmark.svg", &docs::chart::chart(&measured, &figures))?;
        }
    }
    println!("{inlining}");
    Ok(!matches!(inlining, Inlining::Lost(_)))
}

fn measure_aes(sides: &aes::Sides<'_>, path: &str) -> Result<Vec<aes::Figure>> {
    println!("{}", docs::aes::HEAD);
    let mut figures = Vec::new();
    for case in Case::all() {
        let mut figure = aes::measure(sides, case, path, AES_PLAN)?;
        if figure.ratio < CLOSE {
            figure = aes::measure(sides, case, path, LONG_AES_PLAN)?;
        }
        println!("{}", docs::aes::line(&figure));
        figures.push(figure);
    }
    Ok(figures)
}

fn lookup(request: &Request) -> Result<bool> {
    let stage = Stage::new()?;
    println!("\nLook-ups beside those of file_key_management\n{}", docs::lookup::HEAD);
    let plan = if request.smoke { SHORT_LOOKUP_PLAN } else { LOOKUP_PLAN };
    let (mut figures, mut version) = (Vec::new(), String::new());
    for count in lookup::KEYS {
        let sides = lookup::Sides::load(&stage, &request.plugin, &request.file_key_management, count)?;
        sides.compare()?;
        version = sides.plugin_version();
        for question in [Question::LatestVersion, Question::Key] {
            for threads in lookup::THREADS {
                let figure = sides.measure(question, Plan { threads, ..plan })?;
                println!("{}", docs::lookup::line(&figure));
                figures.push(figure);
            }
        }
    }
    if request.smoke {
        println!("\nEvery answer was right");
    } else {
        println!("\n{}", docs::lookup::verdict(&figures));
        if let Some(folder) = &request.docs {
            write(folder, "lookup-benchmark.md", &docs::lookup::document(&measured(version)?, &figures))?;
        }
    }
    let waited = figures.iter().find(|figure| figure.has_waited());
    if let Some(lookup::Figure { question, threads, waits, calls, .. }) = waited {
        println!("{question} waits: with {threads} threads, {waits} times in {calls} calls. It must never wait");
    }
    Ok(waited.is_none())
}

fn rotation(request: &Request) -> Result<bool> {
    let stage = Stage::new()?;
    println!("\nRotations of all keys\n{}", docs::rotation::HEAD);
    let counts: &[u32] = if request.smoke { &rotation::FEW_KEYS } else { &rotation::KEYS };
    let mut figures = Vec::new();
    for keys in counts {
        let figure = rotation::measure(&stage, &request.plugin, *keys, rotation::VERSIONS)?;
        println!("{}", docs::rotation::line(&figure));
        figures.push(figure);
    }
    println!("\n{}", docs::rotation::verdict(&figures));
    if let (Some(folder), Some(last), false) = (&request.docs, figures.last(), request.smoke) {
        let measured = measured(last.plugin_version.clone())?;
        write(folder, "rotation-benchmark.md", &docs::rotation::document(&measured, &figures))?;
    }
    Ok(rotation::is_frugal(&figures))
}

fn measured(plugin: String) -> Result<Measured> {
    Ok(Measured { cpu: Cpu::this()?, date: machine::date(), server: ServerAes::load().version(), plugin })
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    println!("Written: {}", path.display());
    Ok(())
}

/// The plugin, built with the feature `mock`, uses the path of AES that this names, and not the fastest.
const AES_PATH: &str = "AWS_KEY_MANAGEMENT_AES_PATH";

/// Two for CBC, the last one for CTR.
const AES_KEYS: usize = 3;

const AES_PLAN: Plan = Plan { rounds: 61, turn: Duration::from_millis(2), threads: 1 };

/// Below this ratio a case is measured again, with [`LONG_AES_PLAN`]: whether it is 0.99 or 1.01 matters.
const CLOSE: f64 = 1.05;
const LONG_AES_PLAN: Plan = Plan { rounds: 201, ..AES_PLAN };

const INLINING_PLAN: Plan = Plan { rounds: 101, ..AES_PLAN };

const LOOKUP_PLAN: Plan = Plan { rounds: 101, turn: Duration::from_millis(2), threads: 1 };
const SHORT_LOOKUP_PLAN: Plan = Plan { rounds: 11, ..LOOKUP_PLAN };
