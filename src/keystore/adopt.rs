//! What happens to keys that were found, and not made here, before they are published: their files are made sure to be on
//! the disk, and the manifest is brought up to date.

use super::files::{Entry, KeyFiles};
use super::load::LoadReport;
use super::{KeyName, KeyStoreError};

/// Refuses the keys whose files cannot be made sure of, and those of which the manifest on the disk says something else.
/// Answers why the manifest could not be brought up to date, which is no reason to refuse a key.
pub fn adopt(files: &KeyFiles, report: &mut LoadReport) -> Result<(), KeyStoreError> {
    let names: Vec<KeyName> = report.accepted.iter().map(|accepted| accepted.entry.name).collect();
    for (name, error) in files.sync(&names) {
        report.refuse_accepted(name, error);
    }
    // A manifest of a later version of the plugin is left alone; that has been reported.
    if report.news().next().is_none() || files.check_may_add().is_err() {
        return Ok(());
    }
    let adding = files.begin_adding();
    if adding.is_err() {
        // Also where nothing can be written, the disk has been asked.
        files.refresh()?;
    }
    report.check_again(files);
    let entries: Vec<Entry> = report.news().map(|accepted| accepted.entry.clone()).collect();
    if entries.is_empty() { Ok(()) } else { adding?.record(entries) }
}
