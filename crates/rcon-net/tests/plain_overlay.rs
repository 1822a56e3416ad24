//! Plain overlays between hosts that are namespaces, on the real kernel.
#![allow(missing_docs)]

mod support;

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
};

use support::{DEADLINE, World, addresses, inside, lab, network};

/// A server in one namespace, a client in another: what the client is told.
fn page(server: &Path, address: IpAddr, client: &Path) -> Result<String, std::io::Error> {
    let address = SocketAddr::new(address, 8080);
    let listener = inside(server, || TcpListener::bind(address))?;
    let serving = thread::spawn(move || {
        listener.set_nonblocking(false)?;
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"the page")
    });
    let read = inside(client, || {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    if read.is_ok() {
        serving.join().unwrap()?;
    }
    read
}

#[test]
fn containers_on_two_hosts_reach_each_other_over_both_families() {
    let Some(lab) = lab(2) else { return };
    let plain = network(1, false);
    let world = World::default().network(plain.clone()).place(0, 0, 11).place(1, 0, 12);
    for report in lab.settle(&world) {
        assert!(report.applied && report.problems.is_empty(), "{report:?}");
    }
    let (server, client) = (lab.container(0, 11), lab.container(1, 12));
    for address in addresses(&plain, 11).0 {
        assert_eq!(page(&server, address, &client).unwrap(), "the page");
    }
    for (number, _) in lab.hosts.iter().enumerate() {
        let again = lab.wait(lab.net(number).resync()).unwrap();
        assert_eq!(again.steps, 0, "a second look finds nothing to do");
    }
}
