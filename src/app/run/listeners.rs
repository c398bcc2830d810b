//! The listeners that are being served.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use crate::app::build::{ListenerId, Planned, Service};
use crate::app::error::{StartError, StartErrors};
use crate::domain::listen::{BoundAddress, Listen};
use crate::proxy::connection::Clients;
use crate::proxy::listener::{BindError, BoundSocket, Listener, Workers};
use crate::telemetry::Role;

/// A listener, known by its role, name and address.
struct Served {
    id: ListenerId,
    listen: Listen,
    listener: Arc<Listener>,
    service: Service,
    /// For a listener of the next generation that has the same address but another name.
    socket: Option<BoundSocket>,
}

impl Served {
    fn is(&self, planned: &Planned) -> bool {
        self.id == planned.id && self.listen == planned.listen
    }
}

/// The listeners of the current generation, and those that are draining.
#[derive(Default)]
pub(super) struct Listeners {
    served: Vec<Served>,
    /// Weak: a listener that has drained must not keep the parts of its generation.
    leaving: Vec<Weak<Listener>>,
}

impl Listeners {
    /// Binds a socket for each planned listener that is not served yet; none for the others.
    ///
    /// # Errors
    /// Every socket that cannot be bound.
    pub(super) fn bind(
        &self,
        planned: &[Planned],
    ) -> Result<Vec<Option<BoundSocket>>, StartErrors> {
        let (mut bound, mut errors) = (Vec::new(), Vec::new());
        for planned in planned {
            if self.served.iter().any(|served| served.is(planned)) {
                bound.push(None);
                continue;
            }
            match self.socket(&planned.listen) {
                Ok(socket) => bound.push(Some(socket)),
                Err(BindError { address, error }) => errors.push(StartError::Bind {
                    listener: planned.id.name.clone(),
                    address,
                    error,
                }),
            }
        }
        if errors.is_empty() {
            Ok(bound)
        } else {
            Err(StartErrors(errors))
        }
    }

    /// A socket at an address, which a listener that is served may have already.
    fn socket(&self, listen: &Listen) -> Result<BoundSocket, BindError> {
        let has_it = |served: &&Served| {
            if let (Some(served), Some(listen)) = (served.listen.unix(), listen.unix()) {
                return served.path == listen.path;
            }
            let has_port = listen.address().is_some_and(|address| address.port() != 0);
            let is_bound = || served.listener.addresses().eq(listen.addresses());
            has_port && (served.listen == *listen || is_bound())
        };
        match self
            .served
            .iter()
            .find(has_it)
            .and_then(|served| served.socket.as_ref())
        {
            Some(socket) => socket.duplicate(listen),
            None => BoundSocket::bind(listen.clone()),
        }
    }

    /// Serves the planned listeners. Those that are served already get the new service; those that
    /// are planned no more are drained.
    ///
    /// # Errors
    /// The system has no descriptor for a socket; then nothing has changed.
    pub(super) fn serve(
        &mut self,
        planned: Vec<Planned>,
        bound: Vec<Option<BoundSocket>>,
        workers: &Workers,
    ) -> Result<(), StartErrors> {
        let mut next = Vec::new();
        for (planned, socket) in planned.into_iter().zip(bound) {
            let begun = socket.map(|socket| listen(&planned, socket, workers));
            next.push((begun.transpose()?, planned));
        }
        let mut before = std::mem::take(&mut self.served);
        for (begun, planned) in next {
            let kept = before.iter().position(|served| served.is(&planned));
            match (begun, kept) {
                (None, Some(kept)) => {
                    let served = before.swap_remove(kept);
                    served.listener.set_clients(planned.clients);
                    served.service.replace(&planned.service);
                    self.served.push(served);
                }
                (Some((listener, socket)), _) => {
                    for address in listener.sockets() {
                        tracing::info!(listener = planned.id.name, %address, "listening");
                    }
                    self.served.push(Served {
                        id: planned.id,
                        listen: planned.listen,
                        listener: Arc::new(listener),
                        service: planned.service,
                        socket: Some(socket),
                    });
                }
                (None, None) => {}
            }
        }
        self.leaving.retain(|listener| listener.strong_count() > 0);
        for Served { id, listener, .. } in before {
            tracing::info!(listener = id.name, "no longer listening");
            self.leaving.push(Arc::downgrade(&listener));
            tokio::spawn(async move { listener.drain().await });
        }
        Ok(())
    }

    /// Closes the listening sockets that are kept here; the workers close theirs when they drain.
    pub(super) fn stop_listening(&mut self) {
        for served in &mut self.served {
            served.socket = None;
        }
    }

    /// Every listener, also those that are draining.
    pub(super) fn all(&self) -> Vec<Arc<Listener>> {
        let served = self.served.iter().map(|served| served.listener.clone());
        let leaving = self.leaving.iter().filter_map(Weak::upgrade);
        served.chain(leaving).collect()
    }

    /// How many requests are under way on all listeners.
    pub(super) fn requests(&self) -> usize {
        self.all().iter().map(|listener| listener.requests()).sum()
    }

    pub(super) fn outbound_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let outbound = self.served.iter().filter(|it| it.id.role == Role::Outbound);
        outbound.flat_map(|served| served.listener.addresses())
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = (ListenerId, BoundAddress)> {
        self.served.iter().flat_map(|served| {
            let addresses = served.listener.sockets();
            addresses.map(|address| (served.id.clone(), address.clone()))
        })
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.served.iter().flat_map(|served| {
            let addresses = served.listener.addresses();
            addresses.map(|address| (served.id.name.as_str(), address))
        })
    }
}

fn listen(
    planned: &Planned,
    socket: BoundSocket,
    workers: &Workers,
) -> Result<(Listener, BoundSocket), StartError> {
    let clients = Clients::new(planned.clients.clone());
    let metrics = &planned.metrics;
    let listener = match &planned.service {
        Service::Inbound(service) => workers.listen(&socket, metrics, clients, service),
        Service::Decisions(service) => workers.listen(&socket, metrics, clients, service),
        Service::Outbound(service) => workers.listen(&socket, metrics, clients, service),
        Service::Own(service) => workers.listen(&socket, metrics, clients, service),
    };
    let listener = listener.map_err(StartError::Workers)?;
    Ok((listener, socket))
}
