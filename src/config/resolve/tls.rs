//! TLS of a listener: its files are read and checked.

use super::resolver::Resolver;
use crate::config::files::read_by_others;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::config::value::FilePath;
use crate::domain::clock::{Clock, SystemClock, UnixTime};
use crate::domain::settings::ClientCertificate;
use crate::proxy::tls::{
    Authorities, ClientFiles, Config, FileFault, Pair, PairFault, PairFiles, RevocationLists,
};

/// The mapping of a certificate and its private key, and both files.
pub(super) type PairKeys = (KeyPath, FilePath, FilePath);

impl Resolver<'_> {
    /// TLS of the listener at `listener`.
    pub fn server_tls(
        &mut self,
        listener: &KeyPath,
        raw: Option<raw::ServerTls>,
    ) -> Option<Config> {
        let (path, raw) = (listener.key("tls"), raw?);
        let clients = self.client_files(&path, &raw);
        let further = raw
            .certificates
            .into_iter()
            .enumerate()
            .map(|(index, raw)| {
                let path = path.key("certificates").index(index);
                (path, raw.cert_file, raw.key_file)
            });
        let first = (path.clone(), raw.cert_file, raw.key_file);
        let pairs: Vec<PairKeys> = std::iter::once(first).chain(further).collect();
        Some(Config {
            pairs: pairs.into_iter().map(|pair| self.pair(pair)).collect(),
            clients,
            min_version: raw.min_version,
        })
    }

    /// A certificate and its key, which are read and checked.
    pub fn pair(&mut self, (path, certificate, key): PairKeys) -> PairFiles {
        let (certificate_path, key_path) = (path.key("certFile"), path.key("keyFile"));
        let files = PairFiles {
            certificate: certificate.0.clone(),
            key: key.0.clone(),
        };
        match Pair::read(&files) {
            Ok(pair) => self.warn_of_expiry(&certificate_path, pair.not_after()),
            Err(PairFault::Certificate(fault)) => {
                self.file_error(&certificate_path, &certificate, &fault.to_string());
            }
            Err(PairFault::Key(fault)) => self.file_error(&key_path, &key, &fault.to_string()),
            Err(PairFault::Mismatch) => {
                let problem = "is not the private key of the certificate in `certFile`";
                self.file_error(&key_path, &key, problem);
            }
        }
        if let Some(mode) = read_by_others(&key.0) {
            self.warn_of_readers(&key_path, &key, mode);
        }
        files
    }

    fn warn_of_expiry(&mut self, path: &KeyPath, not_after: UnixTime) {
        let now = SystemClock.now();
        if not_after < now {
            let ended = not_after.to_rfc3339().unwrap_or_default();
            self.warn(
                path,
                format!("the certificate has expired: it was valid until {ended}"),
            );
        }
    }

    fn client_files(&mut self, path: &KeyPath, raw: &raw::ServerTls) -> Option<ClientFiles> {
        let is_used = raw.client_certificate != ClientCertificate::None;
        for (key, file) in [
            ("clientCaFile", &raw.client_ca_file),
            ("clientCrlFile", &raw.client_crl_file),
        ] {
            if file.is_some() && !is_used {
                let message =
                    "it has no effect without `clientCertificate: required` or `optional`";
                self.error(&path.key(key), message);
            }
        }
        self.check_self_signed(path, raw);
        if !is_used {
            return None;
        }
        match &raw.client_ca_file {
            Some(authorities) => self.client_authorities(path, authorities, raw),
            None if !raw.self_signed_clients => {
                let message = "set `clientCaFile`: client certificates are verified with the \
                               authorities in it";
                self.error(&path.key("clientCertificate"), message);
                return None;
            }
            None => {}
        }
        Some(ClientFiles {
            authorities: raw.client_ca_file.as_ref().map(|file| file.0.clone()),
            revoked: raw.client_crl_file.as_ref().map(|file| file.0.clone()),
            are_required: raw.client_certificate == ClientCertificate::Required,
            self_signed: raw.self_signed_clients,
        })
    }

    /// A self-signed certificate passes only where something else decides about the request.
    fn check_self_signed(&mut self, path: &KeyPath, raw: &raw::ServerTls) {
        if !raw.self_signed_clients {
            return;
        }
        let key = path.key("selfSignedClients");
        if !path.matches("issuer.tls") && !path.matches("inbound[].tls") {
            let message = "only the issuer and inbound listeners use such certificates";
            self.error(&key, message);
        }
        if raw.client_certificate != ClientCertificate::Optional {
            let message = "it needs `clientCertificate: optional`: everyone can make such a \
                           certificate, so that requiring one protects nothing";
            self.error(&key, message);
        }
        if raw.client_ca_file.is_none() && raw.client_crl_file.is_some() {
            let message = "it has no effect without `clientCaFile`";
            self.error(&path.key("clientCrlFile"), message);
        }
    }

    fn client_authorities(&mut self, path: &KeyPath, authorities: &FilePath, raw: &raw::ServerTls) {
        let read = Authorities::read(&authorities.0);
        if let (Some(revoked), Ok(authorities)) = (&raw.client_crl_file, &read) {
            let read = RevocationLists::read(&revoked.0, authorities);
            self.revocation_lists(&path.key("clientCrlFile"), revoked, read);
        }
        self.note_fault(&path.key("clientCaFile"), authorities, read.map(drop));
    }

    fn revocation_lists(
        &mut self,
        path: &KeyPath,
        file: &FilePath,
        read: Result<RevocationLists, FileFault>,
    ) {
        if let Some(due) = read.as_ref().ok().and_then(RevocationLists::next_update)
            && due < SystemClock.now()
        {
            let due = due.to_rfc3339().unwrap_or_default();
            let message = format!(
                "a list in it should have been replaced by {due}: certificates of its authority \
                 are refused until then"
            );
            self.warn(path, message);
        }
        self.note_fault(path, file, read.map(drop));
    }

    fn note_fault(&mut self, path: &KeyPath, file: &FilePath, read: Result<(), FileFault>) {
        if let Err(fault) = read {
            self.file_error(path, file, &fault.to_string());
        }
    }
}
