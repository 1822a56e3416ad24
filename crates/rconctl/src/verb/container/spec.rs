//! The flags that describe a new container, shared by `create` and `run`.

use clap::Args;
use rcon_proto::v1;

use crate::{
    reference::{optional_ip, parse_pairs},
    report::{Report, invalid},
};

/// What a new container is to be.
#[derive(Debug, Args)]
pub struct ContainerFlags {
    /// Name; two random words if none is given
    #[arg(long, default_value = "")]
    name: String,
    /// Network to join (repeatable): a name or id, NAME:alias=A,ip=ADDRESS, or none
    #[arg(long, alias = "net", value_name = "NETWORK")]
    network: Vec<String>,
    /// One more name on every network (repeatable)
    #[arg(long)]
    network_alias: Vec<String>,
    /// IPv4 address on the one network
    #[arg(long)]
    ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address on the one network
    #[arg(long)]
    ip6: Option<std::net::Ipv6Addr>,
    /// KEY=VALUE, or KEY to pass this shell's value on (repeatable)
    #[arg(short, long)]
    env: Vec<String>,
    /// Remove the container when it has ended
    #[arg(long)]
    rm: bool,
    /// Host name inside; the short id if none is given
    #[arg(long, default_value = "")]
    hostname: String,
    /// User[:group], by name or number
    #[arg(short, long, default_value = "")]
    user: String,
    /// Working directory inside
    #[arg(short, long, default_value = "")]
    workdir: String,
    /// Replaces the image's entrypoint
    #[arg(long)]
    entrypoint: Option<String>,
    /// KEY=VALUE (repeatable)
    #[arg(short, long)]
    label: Vec<String>,
    /// Signal that asks the container to stop
    #[arg(long, default_value = "")]
    stop_signal: String,
    /// Seconds between that signal and SIGKILL
    #[arg(long)]
    stop_timeout: Option<u32>,
    /// Name or id of the image
    image: String,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl ContainerFlags {
    /// The request that these flags ask for.
    pub fn into_request(self, open_stdin: bool) -> Result<v1::CreateContainerRequest, Report> {
        if self.network.len() != 1 && (self.ip.is_some() || self.ip6.is_some()) {
            return Err(invalid("--ip and --ip6 need exactly one --network; use --network NAME:ip=ADDRESS for several"));
        }
        let mut networks = Vec::new();
        for text in &self.network {
            let mut network = attachment(text)?;
            network.aliases.extend(self.network_alias.iter().cloned());
            if self.ip.is_some() {
                network.ipv4 = optional_ip(self.ip.map(Into::into));
            }
            if self.ip6.is_some() {
                network.ipv6 = optional_ip(self.ip6.map(Into::into));
            }
            networks.push(network);
        }
        Ok(v1::CreateContainerRequest {
            name: self.name,
            image: self.image,
            command: self.command,
            env: environment(&self.env),
            networks,
            auto_remove: self.rm,
            hostname: self.hostname,
            user: self.user,
            workdir: self.workdir,
            entrypoint: self.entrypoint,
            labels: parse_pairs(&self.label),
            tty: false,
            open_stdin,
            stop_signal: self.stop_signal,
            stop_timeout_s: self.stop_timeout,
        })
    }
}

/// `KEY` alone takes this process's value, or nothing where it has none: Docker's rule.
pub fn environment(flags: &[String]) -> Vec<String> {
    flags
        .iter()
        .filter_map(
            |flag| if flag.contains('=') { Some(flag.clone()) } else { std::env::var(flag).ok().map(|value| format!("{flag}={value}")) },
        )
        .collect()
}

/// `NAME`, `NAME:key=value,…` or `name=NAME,key=value,…`.
fn attachment(text: &str) -> Result<v1::NetworkAttachment, Report> {
    let (name, options) = match text.split_once(':') {
        Some((name, options)) => (name, options),
        None if text.contains('=') => ("", text),
        None => (text, ""),
    };
    let mut attachment = v1::NetworkAttachment { network: name.to_owned(), ..Default::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').ok_or_else(|| invalid(format!("--network: `{option}` is not KEY=VALUE")))?;
        let address = || value.parse::<std::net::IpAddr>().map_err(|_| invalid(format!("--network: `{value}` is not an IP address")));
        match key {
            "name" => attachment.network = value.to_owned(),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => attachment.ipv4 = optional_ip(Some(address()?)),
            "ip6" => attachment.ipv6 = optional_ip(Some(address()?)),
            _ => return Err(invalid(format!("--network: `{key}` is not known; there are name, alias, ip and ip6"))),
        }
    }
    if attachment.network.is_empty() {
        return Err(invalid(format!("--network: `{text}` names no network")));
    }
    Ok(attachment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named_as_in_docker() {
        assert_eq!(attachment("backend").unwrap().network, "backend");
        let long = attachment("name=backend,alias=db,alias=db2,ip=10.0.0.9").unwrap();
        assert_eq!((long.network.as_str(), long.aliases.len(), &long.ipv4[..]), ("backend", 2, &[10, 0, 0, 9][..]));
        assert_eq!(attachment("backend:alias=db").unwrap().aliases, ["db"]);
        assert!(attachment("alias=db").is_err());
        assert!(attachment("backend:colour=red").is_err());
        assert!(attachment("backend:ip=x").is_err());
    }
}
