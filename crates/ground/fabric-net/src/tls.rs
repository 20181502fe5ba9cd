//! TLS 1.3 over a connection: both sides show a certificate of the same authority, and each checks the other's name.
//!
//! The connector makes the [`Party`] once and a [`Tls`] for each connection. It never speaks an older version.
//!
//! Cost: one copy more in each direction (the record is encrypted from the window into a buffer of at most 64 KiB, and decrypted out of rustls'
//! own), and the cipher itself.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, RootCertStore};
use rustls::{ServerConfig, ServerConnection, SignatureScheme};
use socket2::Socket;

use fabric::tli::Role;

use crate::address::TlsFiles;

/// Bytes that wait here, encrypted, before more are taken.
const KEPT_BACK_MAX: usize = 64 << 10;

/// Our side's certificate and what it demands of peers.
pub(crate) enum Party {
    Client { config: Arc<ClientConfig>, peer: ServerName<'static> },
    Server { config: Arc<ServerConfig> },
}

/// Why TLS could not be set up.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// A file is not there or is not what it should be.
    File { what: &'static str, path: String, why: String },
    /// A name that no certificate has.
    Name(String),
    /// rustls refuses the combination.
    Config(rustls::Error),
}

impl Party {
    /// Reads the files. `host` is the name to check when the address names none.
    pub(crate) fn new(role: Role, files: &TlsFiles, host: &str) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = certificates("certificate", &files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|why| bad_file("key", &files.key, &why))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates("authority", &files.ca)? {
            roots.add(certificate).map_err(|why| bad_file("authority", &files.ca, &why))?;
        }
        let named = |name: &str| ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()));
        match role {
            Role::Connect => {
                let config = ClientConfig::builder_with_provider(provider)
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .map_err(TlsError::Config)?
                    .with_root_certificates(roots)
                    .with_client_auth_cert(chain, key)
                    .map_err(TlsError::Config)?;
                let peer = named(files.peer.as_deref().unwrap_or(host))?;
                Ok(Self::Client { config: Arc::new(config), peer })
            }
            Role::Listen => {
                let mut verifier: Arc<dyn ClientCertVerifier> =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                        .build()
                        .map_err(|why| bad_file("authority", &files.ca, &why))?;
                if let Some(name) = files.peer.as_deref() {
                    verifier = Arc::new(Named { verifier, name: named(name)? });
                }
                let config = ServerConfig::builder_with_provider(provider)
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .map_err(TlsError::Config)?
                    .with_client_cert_verifier(verifier)
                    .with_single_cert(chain, key)
                    .map_err(TlsError::Config)?;
                Ok(Self::Server { config: Arc::new(config) })
            }
        }
    }

    /// A new connection of this party.
    pub(crate) fn begin(&self) -> Result<Tls, TlsError> {
        let mut connection = match self {
            Self::Client { config, peer } => {
                Connection::from(ClientConnection::new(Arc::clone(config), peer.clone()).map_err(TlsError::Config)?)
            }
            Self::Server { config } => {
                Connection::from(ServerConnection::new(Arc::clone(config)).map_err(TlsError::Config)?)
            }
        };
        connection.set_buffer_limit(Some(KEPT_BACK_MAX));
        Ok(Tls { connection })
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|why| bad_file(what, path, &why))?.collect();
    let found = found.map_err(|why| bad_file(what, path, &why))?;
    if found.is_empty() {
        return Err(bad_file(what, path, &"no certificate in it"));
    }
    Ok(found)
}

fn bad_file(what: &'static str, path: &Path, why: &dyn fmt::Display) -> TlsError {
    TlsError::File { what, path: path.display().to_string(), why: why.to_string() }
}

/// Checks a client's certificate, and then that it has the one name that is expected.
#[derive(Debug)]
struct Named {
    verifier: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.verifier.verify_client_cert(shown, between, now)?;
        verify_server_name(&ParsedCertificate::try_from(shown)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, shown, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// One connection's cipher state.
pub(crate) struct Tls {
    connection: Connection,
}

impl Tls {
    pub(crate) fn shake_hands(&mut self, socket: &Socket) -> io::Result<()> {
        while self.connection.is_handshaking() {
            self.flush(socket)?;
            if self.connection.is_handshaking() && self.take_records(socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.flush(socket)
    }

    pub(crate) fn read(&mut self, socket: &Socket, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.take_records(socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(crate) fn write(&mut self, socket: &Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(socket)?;
        let taken = self.connection.writer().write_vectored(slices)?;
        match self.flush(socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    pub(crate) fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Silent(socket))?;
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, socket: &Socket) {
        self.connection.send_close_notify();
        // What cannot be said any more is seen from the socket's end.
        let _ = self.flush(socket);
    }

    /// Reads from the socket what there is; 0 at its end.
    fn take_records(&mut self, socket: &Socket) -> io::Result<usize> {
        let count = self.connection.read_tls(&mut Silent(socket))?;
        if let Err(error) = self.connection.process_new_packets() {
            // The peer is told why.
            let _ = self.flush(socket);
            return Err(damaged(error));
        }
        Ok(count)
    }
}

/// The socket as rustls likes it: never blocking, and without a signal when the connection is broken.
struct Silent<'a>(&'a Socket);

impl Read for Silent<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self.0, into, RecvFlags::DONTWAIT)?.0)
    }
}

impl Write for Silent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut space: [MaybeUninit<u8>; 0] = [];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::net::sendmsg(self.0, slices, &mut SendAncillaryBuffer::new(&mut space), flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn damaged(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { what, path, why } => write!(f, "{what} file {path}: {why}"),
            Self::Name(name) => write!(f, "{name:?} is no name that a certificate can have; say peer=NAME"),
            Self::Config(error) => error.fmt(f),
        }
    }
}
