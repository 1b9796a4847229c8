//! What the figures were measured on, and with.

use std::ffi::{CStr, c_char, c_int};

use anyhow::{Context, Result};
use libloading::Library;
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

/// The versions of what the server's AES is made of, such as `libmariadbd 10.11.6, OpenSSL 3.0.15`.
pub fn server_version() -> Result<String> {
    // SAFETY: the library is loaded already.
    let library = unsafe { Library::new("libmariadbd.so.19") }.context("loading libmariadbd.so.19")?;
    // SAFETY: the type is that of the declaration in the server's mysql.h.
    let client_info = unsafe { library.get::<unsafe extern "C" fn() -> *const c_char>(b"mysql_get_client_info") }?;
    // SAFETY: has no preconditions.
    let mariadb = unsafe { client_info() };
    // SAFETY: returns a constant string that ends in NUL.
    let mariadb = unsafe { CStr::from_ptr(mariadb) }.to_string_lossy().into_owned();
    // SAFETY: a library that libmariadbd needs is looked through too; the type is that of OpenSSL's crypto.h.
    let openssl = unsafe { library.get::<unsafe extern "C" fn(c_int) -> *const c_char>(b"OpenSSL_version") };
    let Ok(openssl) = openssl else { return Ok(format!("libmariadbd {mariadb}")) };
    // SAFETY: takes any number; 0 is the library's version.
    let openssl = unsafe { openssl(0) };
    // SAFETY: returns a constant string that ends in NUL.
    let openssl = unsafe { CStr::from_ptr(openssl) }.to_string_lossy().into_owned();
    let openssl: Vec<&str> = openssl.split(' ').take(2).collect();
    Ok(format!("libmariadbd {mariadb}, {}", openssl.join(" ")))
}

/// Today, such as `2026-11-24`.
pub fn date() -> String {
    OffsetDateTime::now_utc().date().to_string()
}
