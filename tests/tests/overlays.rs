//! Overlay networks end to end: containers on different hosts, by name, plain and encrypted, and what is refused.

use std::time::Duration;

use anyhow::ensure;
use rcon_tests::{Cluster, IMAGE, eventually, eventually_within, machine_can};

/// Far less than the 30 s after which everything is looked at anyway; a quarter of a second is what is aimed at.
const BACK: Duration = Duration::from_secs(15);

/// A manager and two workers, each with the image.
fn cluster() -> Cluster {
    let cluster = Cluster::hosts(3);
    cluster.init();
    for host in ["h2", "h3"] {
        cluster.join(host, "worker");
    }
    for host in ["h1", "h2", "h3"] {
        cluster.import_image(host);
    }
    cluster
}

fn create(cluster: &Cluster, name: &str, options: &[&str]) {
    let line = [&["network", "create", "--driver", "overlay", "--attachable"], options, &[name]].concat();
    cluster.rconctl("h1").run(&line).unwrap();
}

fn serve(cluster: &Cluster, host: &str, name: &str, network: &str) {
    cluster.rconctl(host).run(&["run", "-d", "--name", name, "--network", network, IMAGE, "httpd", "-f", "-h", "/www"]).unwrap();
}

fn read(cluster: &Cluster, host: &str, network: &str, url: &str) -> anyhow::Result<String> {
    cluster.rconctl(host).run(&["run", "--rm", "--network", network, IMAGE, "wget", "-qO-", url])
}

#[test]
fn a_page_is_read_by_name_across_hosts_on_plain_and_encrypted_networks() {
    if !machine_can() {
        return;
    }
    let cluster = cluster();
    for (network, options) in [("plain", &["--ipv6"][..]), ("sealed", &["--ipv6", "--opt", "encrypted"])] {
        create(&cluster, network, options);
        let web = format!("web-{network}");
        serve(&cluster, "h2", &web, network);
        eventually("the page is read", || {
            let page = read(&cluster, "h3", network, &format!("http://{web}/"))?;
            ensure!(page.contains("a page"), "{page}");
            Ok(())
        });
        let pings = ["run", "--rm", "--network", network, IMAGE, "ping", "-6", "-c", "1", "-W", "5", web.as_str()];
        cluster.rconctl("h3").run(&pings).unwrap();
    }
}

#[test]
fn a_running_container_changes_networks_and_keeps_a_way_out() {
    if !machine_can() {
        return;
    }
    let cluster = cluster();
    create(&cluster, "first", &["--opt", "encrypted"]);
    create(&cluster, "second", &[]);
    serve(&cluster, "h2", "web", "second");
    let h3 = cluster.rconctl("h3");
    h3.run(&["run", "-d", "--name", "client", "--network", "first", IMAGE, "sleep", "1000"]).unwrap();
    h3.run(&["network", "connect", "--alias", "asker", "second", "client"]).unwrap();
    eventually("the page is read on the second network", || {
        let page = h3.run(&["exec", "client", "wget", "-qO-", "http://web/"])?;
        ensure!(page.contains("a page"), "{page}");
        Ok(())
    });
    h3.run(&["network", "disconnect", "first", "client"]).unwrap();
    let routes = h3.run(&["exec", "client", "ip", "route"]).unwrap();
    assert!(routes.contains("default via"), "{routes}");
    let outside = h3.run(&["exec", "client", "ping", "-c", "1", "-W", "5", "198.51.100.1"]);
    outside.unwrap();
}

#[test]
fn a_killed_tunnel_and_a_killed_name_server_are_back_by_themselves() {
    if !machine_can() {
        return;
    }
    let cluster = cluster();
    create(&cluster, "sealed", &["--opt", "encrypted"]);
    serve(&cluster, "h2", "web", "sealed");
    let h3 = cluster.rconctl("h3");
    h3.run(&["run", "-d", "--name", "client", "--network", "sealed", IMAGE, "sleep", "1000"]).unwrap();
    for helper in ["rcond tunnel", "rcond dns"] {
        cluster.lab.kill("h3", Some(helper)).unwrap();
        eventually_within(BACK, "the page is read again", || {
            let page = h3.run(&["exec", "client", "wget", "-qO-", "http://web/"])?;
            ensure!(page.contains("a page"), "{page}");
            Ok(())
        });
    }
}

#[test]
fn what_cannot_be_is_refused_with_who_is_in_the_way() {
    if !machine_can() {
        return;
    }
    let cluster = cluster();
    create(&cluster, "backend", &[]);
    serve(&cluster, "h2", "web", "backend");
    let h1 = cluster.rconctl("h1");
    let in_use = h1.fail(&["network", "rm", "backend"]).unwrap();
    assert!(in_use.contains("`web` on h2"), "{in_use}");
    let taken = cluster.rconctl("h3").fail(&["run", "--name", "web", "--network", "backend", IMAGE, "true"]).unwrap();
    assert!(taken.contains("taken") && taken.contains("h2"), "{taken}");
    let unknown = h1.fail(&["run", "--network", "nowhere", IMAGE, "true"]).unwrap();
    assert!(unknown.contains("nowhere") && unknown.contains("hint"), "{unknown}");
    let overlap = h1.fail(&["network", "create", "--driver", "overlay", "--subnet", "10.0.0.0/16", "other"]).unwrap();
    assert!(overlap.contains("overlaps"), "{overlap}");
    cluster.rconctl("h2").run(&["rm", "--force", "web"]).unwrap();
    eventually("a network that nobody uses is removed", || h1.run(&["network", "rm", "backend"]).map(drop));
}
