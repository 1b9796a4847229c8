//! The kinds of failure: what each is called, what a start does with it, and what an operator can do.

use super::Call;

/// The kinds of failure. Its text is the kind's name in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Class {
    /// Too many requests. Goes away by itself.
    #[error("throttled")]
    Throttled,
    /// No answer, or one that is none of KMS. Goes away by itself, if the endpoint is right.
    #[error("KMS could not be reached or did not answer properly")]
    Transient,
    /// The endpoint's certificate is signed by a CA that is not trusted here: a private one, or none is.
    #[error("the CA of the endpoint's certificate is not trusted")]
    UntrustedCa,
    /// The endpoint's certificate is expired, has another name, or is wrong in another way.
    #[error("the endpoint's certificate is not valid")]
    BadCertificate,
    /// A fault inside AWS. Goes away by itself.
    #[error("a fault inside AWS")]
    Internal,
    /// No credentials could be found; an instance role may turn up late.
    #[error("no AWS credentials")]
    NoCredentials,
    /// Credentials that AWS does not accept: expired, deleted, or the wrong secret.
    #[error("AWS does not accept the credentials")]
    BadCredentials,
    /// STS does not give the server the role that it is to use.
    #[error("STS refuses the role")]
    RoleRefused,
    /// The request's time is too far from that of AWS.
    #[error("the clock of this machine is wrong")]
    Clock,
    /// The identity may not do this.
    #[error("access denied")]
    Denied,
    /// The master key is disabled.
    #[error("the master key is disabled")]
    Disabled,
    /// KMSInvalidStateException: the master key's state does not allow it, or its custom key store has failed. Which of
    /// them it is, only the reason tells.
    #[error("the master key is not usable")]
    InvalidState,
    /// The custom or external key store that holds the master key is not connected.
    #[error("the key store of the master key is not usable")]
    KeyStore,
    /// KMS cannot get at the master key for the moment ("you can retry the request").
    #[error("the master key is not available for the moment")]
    Unavailable,
    /// The master key does not exist in this account and region.
    #[error("the master key does not exist")]
    NotFound,
    /// The master key is an asymmetric one, or one for another use.
    #[error("the master key cannot wrap data keys")]
    KeyType,
    /// The wrapped key belongs to another master key.
    #[error("wrapped by another master key")]
    WrongKey,
    /// The wrapped key is damaged, or was never one of KMS.
    #[error("not a wrapped key, or damaged")]
    Corrupt,
    /// No region is set and none was found, so us-east-1 was asked, which refused: perhaps the wrong region.
    #[error("no AWS region is set or found, and us-east-1 refused")]
    NoRegion,
    /// The endpoint is one of another region than the one that the request was signed for.
    #[error("the endpoint is of another region")]
    WrongRegion,
    /// The plugin's own settings are wrong.
    #[error("wrong settings")]
    Config,
    /// Anything else that AWS refuses.
    #[error("refused")]
    Rejected,
}

/// What a start does about a key that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// No key can be had with these settings: the start fails at once.
    FailStart,
    /// It says nothing about the key, and may pass: waited for, and if it lasts, the start fails.
    WaitThenFailStart,
    /// It is about the key, and may pass by itself: waited for, and if it lasts, that key fails.
    WaitThenFailKey,
    /// It is about the key, and somebody has to do something, or has done so and it takes effect late (IAM): waited for
    /// while no key version is usable. Otherwise that key fails, and is tried again in the background.
    WaitWhileNoneIsUsable,
    /// Waiting does not help: that key fails.
    FailKey,
}

impl Class {
    /// What a start does about a key that fails so.
    pub fn at_start(self) -> AtStart {
        match self {
            Self::Config | Self::WrongRegion => AtStart::FailStart,
            Self::Throttled
            | Self::Transient
            | Self::UntrustedCa
            | Self::BadCertificate
            | Self::Internal
            | Self::NoCredentials
            | Self::BadCredentials
            | Self::RoleRefused
            | Self::Clock
            | Self::NoRegion => AtStart::WaitThenFailStart,
            Self::Unavailable => AtStart::WaitThenFailKey,
            Self::Denied | Self::Disabled | Self::InvalidState | Self::KeyStore | Self::NotFound | Self::Rejected => {
                AtStart::WaitWhileNoneIsUsable
            }
            Self::KeyType | Self::WrongKey | Self::Corrupt => AtStart::FailKey,
        }
    }

    /// Whether the failure has nothing to do with the key that was asked for, and may be gone in a moment: credentials
    /// and the instance's metadata, which tell the region, can turn up late.
    pub fn is_passing(self) -> bool {
        self.at_start() == AtStart::WaitThenFailStart
    }

    /// Whether KMS gave no answer that it should have given.
    pub fn is_no_answer(self) -> bool {
        matches!(self, Self::Transient | Self::UntrustedCa | Self::BadCertificate | Self::Internal)
    }

    /// Whether another region may do what this one did not: it gave no answer, has too much to do, or has no STS that gave
    /// credentials out.
    pub(super) fn is_of_the_region(self) -> bool {
        self.is_no_answer() || matches!(self, Self::Throttled | Self::NoCredentials)
    }

    /// Whether KMS answers so too if the master key is in another region.
    pub(super) fn may_be_elsewhere(self) -> bool {
        matches!(self, Self::Denied | Self::NotFound | Self::NoRegion)
    }

    /// Whether KMS may do what it was asked for if it is asked about another master key, perhaps in another region: the reason
    /// is not in the plugin's settings, nor in who asks.
    pub fn may_be_of_the_master_key(self) -> bool {
        !matches!(self, Self::NoCredentials | Self::BadCredentials | Self::RoleRefused | Self::Clock | Self::Config)
    }

    /// Whether the reason may be in what is read once for many calls: credentials, the files that they come from, and
    /// the certificates of CAs. An identity that may not use the master key, or whose account does not have it, may be
    /// another one by now.
    pub(super) fn is_of_what_was_read(self) -> bool {
        matches!(
            self,
            Self::NoCredentials
                | Self::BadCredentials
                | Self::RoleRefused
                | Self::Denied
                | Self::NotFound
                | Self::UntrustedCa
                | Self::BadCertificate
        )
    }

    /// What may help, as a sentence without its full stop.
    pub(super) fn remedy(self, call: Call) -> &'static str {
        use Call::{Decrypt, Encrypt, GenerateDataKeyWithoutPlaintext as Generate};
        match (self, call) {
            (Self::Throttled, _) => "Try again; if it lasts, ask AWS for a higher KMS request quota",
            (Self::Transient, _) => {
                "Check the network to KMS, aws_key_management_region, aws_key_management_endpoint_url and \
                 aws_key_management_request_timeout"
            }
            (Self::UntrustedCa, _) => {
                "Install the package ca-certificates; if the endpoint or a proxy has a private CA, name the file of its \
                 certificate in SSL_CERT_FILE or AWS_CA_BUNDLE, in the server's environment"
            }
            (Self::BadCertificate, _) => {
                "Check the clock of this machine, aws_key_management_endpoint_url, and any proxy that answers in the place \
                 of AWS"
            }
            (Self::Internal, _) => "Try again; if it lasts, see the state of KMS on the AWS Health Dashboard",
            (Self::NoCredentials, _) => {
                "Give the server an instance role, or credentials in its environment or in the AWS files of its user"
            }
            (Self::BadCredentials, _) => "Renew the credentials that the server uses, and check the clock",
            (Self::RoleRefused, _) => {
                "Check the role's ARN and its trust policy, and that the server's identity may assume it"
            }
            (Self::Clock, _) => "Set the clock of this machine, and let NTP keep it",
            (Self::Denied, Decrypt) => {
                "Allow kms:Decrypt on the master key to the server's identity, and check aws_key_management_region"
            }
            (Self::Denied, Generate) => {
                "Allow kms:GenerateDataKeyWithoutPlaintext on the master key to the server's identity"
            }
            (Self::Denied, Encrypt) => "Allow kms:Encrypt on the master key to the server's identity",
            (Self::Disabled, _) => "Enable the master key in KMS",
            (Self::InvalidState, _) => {
                "As the reason tells: cancel the master key's deletion, import its key material again (it may have \
                 expired), or connect its custom or external key store"
            }
            (Self::KeyStore, _) => "Connect the custom or external key store of the master key",
            (Self::Unavailable, _) => {
                "Try again; if it lasts, see the state of the master key and of its key store in KMS"
            }
            (Self::NotFound, Generate | Encrypt) => {
                "Check aws_key_management_master_key_id and aws_key_management_region"
            }
            (Self::NotFound, Decrypt) => {
                "Check aws_key_management_region and the account: the master key that wrapped it must be there. What a \
                 deleted master key has wrapped cannot be unwrapped any more"
            }
            (Self::KeyType, Generate | Encrypt) => {
                "Set aws_key_management_master_key_id to a symmetric key for encryption and decryption"
            }
            (Self::KeyType | Self::WrongKey | Self::Corrupt, _) => {
                "Restore the key file from a backup and restart the server; do not drop the tables that use the key"
            }
            (Self::NoRegion, _) => "Set aws_key_management_region to the master key's region",
            (Self::WrongRegion, _) => "Set aws_key_management_region to the region of aws_key_management_endpoint_url",
            (Self::Config, _) => "Correct the plugin's settings",
            (Self::Rejected, _) => "See the reason that AWS gives",
        }
    }
}

#[cfg(test)]
impl Class {
    /// For tests that hold for every class.
    pub(super) const ALL: &[Self] = &[
        Self::Throttled,
        Self::Transient,
        Self::UntrustedCa,
        Self::BadCertificate,
        Self::Internal,
        Self::NoCredentials,
        Self::BadCredentials,
        Self::RoleRefused,
        Self::Clock,
        Self::Denied,
        Self::Disabled,
        Self::InvalidState,
        Self::KeyStore,
        Self::Unavailable,
        Self::NotFound,
        Self::KeyType,
        Self::WrongKey,
        Self::Corrupt,
        Self::NoRegion,
        Self::WrongRegion,
        Self::Config,
        Self::Rejected,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn those(is_one: impl Fn(Class) -> bool) -> Vec<Class> {
        Class::ALL.iter().copied().filter(|class| is_one(*class)).collect()
    }

    #[test]
    fn what_lasts_or_is_about_the_key_is_not_passing() {
        assert_eq!(
            those(|class| !class.is_passing()),
            [
                Class::Denied,
                Class::Disabled,
                Class::InvalidState,
                Class::KeyStore,
                Class::Unavailable,
                Class::NotFound,
                Class::KeyType,
                Class::WrongKey,
                Class::Corrupt,
                Class::WrongRegion,
                Class::Config,
                Class::Rejected,
            ]
        );
    }

    #[test]
    fn only_a_key_that_may_not_be_used_or_is_not_there_may_be_elsewhere() {
        assert_eq!(those(Class::may_be_elsewhere), [Class::Denied, Class::NotFound, Class::NoRegion]);
    }

    #[test]
    fn another_master_key_changes_nothing_about_who_asks_and_how() {
        assert_eq!(
            those(|class| !class.may_be_of_the_master_key()),
            [Class::NoCredentials, Class::BadCredentials, Class::RoleRefused, Class::Clock, Class::Config]
        );
    }
}
