//! The ways in which the plugin is built for the suite.

use std::path::PathBuf;

use anyhow::Result;

use crate::toolchain;

/// A build of the plugin.
#[derive(Clone, Copy)]
pub enum Flavour {
    /// As it is installed.
    Default,
    /// With the cargo feature `mock`.
    Mock,
}

impl Flavour {
    /// Whether the test `name` is for this build.
    pub fn takes(self, name: &str) -> bool {
        name.starts_with("mock_") == matches!(self, Self::Mock)
    }

    /// Builds it and says where the plugin is.
    pub fn build(self) -> Result<PathBuf> {
        match self {
            Self::Default => toolchain::build_plugin(),
            Self::Mock => toolchain::build_mock_plugin(),
        }
    }

    /// For a person.
    pub fn description(self) -> &'static str {
        match self {
            Self::Default => "the plugin as it is installed",
            Self::Mock => "the plugin built with the feature mock",
        }
    }

    /// A word without special characters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Mock => "mock",
        }
    }
}
