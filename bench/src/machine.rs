//! What the figures were measured on, and with.

use anyhow::{Context, Result};
use time::OffsetDateTime;

/// The machine's CPU.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// As /proc/cpuinfo names it, with family and model, because the name may say little.
    pub name: String,
    /// How many there are for us.
    pub count: usize,
    /// Whether the CPU has the AES instructions that take four blocks at once.
    pub has_vaes_512: bool,
}

impl Cpu {
    /// The one that this program runs on.
    pub fn this() -> Result<Self> {
        let info = std::fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
        let value = |name: &str| {
            let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
            line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
        };
        Ok(Self {
            name: format!("{}, family {}, model {}", value("model name"), value("cpu family"), value("model")),
            count: std::thread::available_parallelism()?.get(),
            has_vaes_512: has_vaes_512(),
        })
    }

    /// What a person wants to know of its AES.
    pub fn aes(&self) -> &'static str {
        if self.has_vaes_512 { "with VAES and AVX-512" } else { "without VAES of 512 bits" }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_vaes_512() -> bool {
    std::arch::is_x86_feature_detected!("vaes") && std::arch::is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_vaes_512() -> bool {
    false
}

/// Today, such as `2026-11-24`.
pub fn date() -> String {
    OffsetDateTime::now_utc().date().to_string()
}
