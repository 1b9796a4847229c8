//! What happens to keys that were found, and not made here, before they are published: their files are made sure to be on
//! the disk, and the manifest and the datadir's memory are brought up to date.

use super::files::{Entry, KeyFiles};
use super::load_report::{AcceptedKey, LoadReport};
use super::{KeyName, KeyStoreError, NewKeySettings};

/// Why something could not be written down: no reason to refuse a key.
#[derive(Default)]
pub struct Adoption {
    /// In the manifest.
    pub not_recorded: Option<KeyStoreError>,
    /// In the datadir.
    pub not_remembered: Option<KeyStoreError>,
}

/// Refuses the keys whose files cannot be made sure of, and those of which the manifest on the disk says something else.
/// `left_behind` is recorded too. The caller has judged the keys by what the manifest said so far; they are judged again by
/// what it says on the disk, which another server may have changed while KMS was asked: neither judgement can do the other's
/// work, as the first tells whether there is anything to write, and whether a start has a key to go on with.
pub fn adopt(
    files: &KeyFiles,
    configured: &NewKeySettings,
    report: &mut LoadReport,
    left_behind: &[Entry],
) -> Adoption {
    let mut adoption = Adoption::default();
    let (copied, from_files): (Vec<&AcceptedKey>, Vec<_>) =
        report.accepted.iter().partition(|accepted| accepted.instead_of.is_some());
    let names = |keys: Vec<&AcceptedKey>| keys.iter().map(|key| key.entry.name).collect::<Vec<KeyName>>();
    let (copied, from_files) = (names(copied), names(from_files));
    report.refuse_accepted(files.sync(&from_files));
    report.refuse_accepted(files.sync_copies(&copied));
    // A manifest of a later version of the plugin is left alone; that has been reported.
    if report.accepted.is_empty() || files.check_may_add().is_err() {
        return adoption;
    }
    let is_news = report.news().next().is_some() || left_behind.iter().any(|entry| !files.is_left_behind(entry.name));
    let is_remembered = files.is_remembered().unwrap_or(false);
    // A manifest that was copied here is written once more, in this place.
    if !is_news && is_remembered && !files.is_copy() {
        return adoption;
    }
    match files.begin_adding() {
        Ok(adding) => {
            report.check_again(files);
            report.judge(files, configured);
            if !report.accepted.is_empty() {
                adoption.not_remembered = adding.remember().err();
            }
            let news = report.news().map(|accepted| accepted.entry.clone());
            let entries: Vec<Entry> = news.chain(left_behind.iter().cloned()).collect();
            if !entries.is_empty() || files.is_copy() {
                adoption.not_recorded = adding.record(entries).err();
            }
        }
        Err(error) => {
            // Also where nothing can be written, the disk is asked.
            if files.refresh().is_ok() {
                report.check_again(files);
                report.judge(files, configured);
            }
            if is_news {
                // What was judged here counts, also if it stands nowhere yet.
                files.note(report.news().map(|accepted| accepted.entry.clone()).collect());
                adoption.not_recorded = Some(error);
            } else if !is_remembered {
                adoption.not_remembered = Some(error);
            }
        }
    }
    adoption
}
