use serde_json::{Value, json};

use super::*;
use crate::{Architecture, KernelVersion, Limit, LimitKind, MountKind, MountSpec};

fn host() -> HostFacts {
    HostFacts {
        architecture: Architecture::X86_64,
        kernel: KernelVersion::parse("6.1.0-18-amd64").unwrap(),
        cgroup: CgroupVersion::V1,
        hard_limits: [(LimitKind::Nofile, 4096)].into(),
        thermal_throttle_cpus: 1,
        apparmor_profile: None,
    }
}

fn container() -> ContainerSpec {
    ContainerSpec::new("0123456789abcdef", "/images/root", vec!["/bin/true".into()])
}

fn built(spec: &ContainerSpec) -> Value {
    serde_json::to_value(runtime_spec(spec, &host()).unwrap()).unwrap()
}

#[test]
fn a_plain_container_has_dockers_process() {
    let spec = built(&container());
    let mut process = spec["process"].clone();
    let capabilities = process["capabilities"].take();
    process.as_object_mut().unwrap().remove("capabilities");
    assert_eq!(
        process,
        json!({
            "terminal": false,
            "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": []},
            "args": ["/bin/true"],
            "env": [format!("PATH={DEFAULT_PATH}"), "HOSTNAME=0123456789ab"],
            "cwd": "/",
        })
    );
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(capabilities[set].as_array().unwrap().len(), 14, "{set}");
    }
    assert_eq!((&capabilities["inheritable"], &capabilities["ambient"]), (&json!([]), &json!([])));
    assert_eq!(spec["root"], json!({"path": "/images/root", "readonly": false}));
    assert_eq!((&spec["ociVersion"], &spec["hostname"]), (&json!("1.0.2"), &json!("0123456789ab")));
}

#[test]
fn a_plain_container_sees_dockers_file_systems() {
    let spec = built(&container());
    let mounts: Vec<String> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| {
            let options: Vec<&str> = m["options"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            format!("{} {} {}", m["destination"].as_str().unwrap(), m["type"].as_str().unwrap(), options.join(","))
        })
        .collect();
    assert_eq!(
        mounts,
        [
            "/proc proc nosuid,noexec,nodev",
            "/dev tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/dev/pts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/sys sysfs nosuid,noexec,nodev,ro",
            "/sys/fs/cgroup cgroup nosuid,noexec,nodev,ro",
            "/dev/mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm tmpfs nosuid,noexec,nodev,mode=1777,size=67108864",
        ]
    );
    let masked = spec["linux"]["maskedPaths"].as_array().unwrap();
    assert_eq!(masked.len(), 13);
    assert!(masked.contains(&json!("/sys/devices/virtual/powercap")));
    assert!(masked.contains(&json!("/sys/devices/system/cpu/cpu0/thermal_throttle")));
    assert_eq!(spec["linux"]["readonlyPaths"].as_array().unwrap().len(), 5);
}

#[test]
fn an_explicit_false_of_no_new_privileges_is_never_written() {
    let mut spec = container();
    assert!(built(&spec)["process"].get("noNewPrivileges").is_none());
    spec.no_new_privileges = true;
    assert_eq!(built(&spec)["process"]["noNewPrivileges"], json!(true));
}

#[test]
fn namespaces_follow_network_and_cgroup_version() {
    let kinds = |spec: &ContainerSpec, host: &HostFacts| -> Vec<String> {
        let built = serde_json::to_value(runtime_spec(spec, host).unwrap()).unwrap();
        let name = |ns: &Value| format!("{}{}", ns["type"].as_str().unwrap(), ns.get("path").and_then(Value::as_str).unwrap_or(""));
        built["linux"]["namespaces"].as_array().unwrap().iter().map(name).collect()
    };
    let mut spec = container();
    assert_eq!(kinds(&spec, &host()), ["mount", "pid", "uts", "ipc", "network"]);
    spec.network = NetworkNamespace::Path("/run/netns/x".into());
    assert_eq!(kinds(&spec, &host()), ["mount", "pid", "uts", "ipc", "network/run/netns/x"]);
    spec.network = NetworkNamespace::Host;
    assert_eq!(kinds(&spec, &HostFacts { cgroup: CgroupVersion::V2, ..host() }), ["mount", "pid", "uts", "ipc", "cgroup"]);
}

#[test]
fn files_of_etc_come_before_the_users_mounts_and_give_way_to_them() {
    let mut spec = container();
    spec.etc_files.hosts = Some("/state/hosts".into());
    spec.etc_files.resolv_conf = Some("/state/resolv.conf".into());
    let bind = |destination: &str| MountSpec {
        destination: destination.into(),
        kind: MountKind::Bind { source: "/volume".into(), propagation: None },
        read_only: true,
    };
    spec.mounts = vec![bind("/data/deeper"), bind("/data"), bind("/etc/hosts"), bind("/dev/shm")];
    let spec = built(&spec);
    let mounts: Vec<(&str, &str)> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .skip(6)
        .map(|m| (m["destination"].as_str().unwrap(), m["source"].as_str().unwrap()))
        .collect();
    assert_eq!(
        mounts,
        [
            ("/etc/resolv.conf", "/state/resolv.conf"),
            ("/data", "/volume"),
            ("/data/deeper", "/volume"),
            ("/etc/hosts", "/volume"),
            ("/dev/shm", "/volume"),
        ]
    );
    assert_eq!(spec["mounts"][7]["options"], json!(["rbind", "ro", "rprivate"]));
}

#[test]
fn limits_become_the_cgroups_and_none_exceeds_the_hosts() {
    let mut spec = container();
    spec.resources.memory_bytes = Some(64 << 20);
    spec.resources.pids = Some(100);
    spec.resources.cpu_quota_us = Some(50_000);
    spec.limits = vec![Limit { kind: LimitKind::Nofile, soft: 1024, hard: 4096 }];
    let value = built(&spec);
    assert_eq!(value["linux"]["resources"]["memory"], json!({"limit": 67_108_864, "swap": 134_217_728}));
    assert_eq!(value["linux"]["resources"]["pids"]["limit"], json!(100));
    assert_eq!(value["linux"]["resources"]["cpu"], json!({"quota": 50_000}));
    assert_eq!(value["linux"]["resources"]["devices"][0], json!({"allow": false, "type": "a", "access": "rwm"}));
    assert_eq!(value["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1024}]));
    spec.limits[0].hard = 4097;
    let failure = runtime_spec(&spec, &host()).unwrap_err().failure();
    assert!(failure.to_string().contains("above 4096"), "{failure}");
    assert!(failure.hint.is_some());
}

#[test]
fn an_init_is_bound_in_and_put_before_the_command() {
    let mut spec = container();
    spec.init = Some("/usr/lib/rcon/init".into());
    let value = built(&spec);
    assert_eq!(value["process"]["args"], json!(["/sbin/docker-init", "--", "/bin/true"]));
    let last = value["mounts"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["destination"], &last["options"]), (&json!("/sbin/docker-init"), &json!(["bind", "ro", "rprivate"])));
}

#[test]
fn a_privileged_container_is_not_confined() {
    let mut spec = container();
    spec.privileged = true;
    let value = built(&spec);
    assert!(value["linux"].get("seccomp").is_none());
    assert!(value["linux"].get("maskedPaths").is_none());
    assert_eq!(value["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 41);
    assert_eq!(value["linux"]["resources"]["devices"][0]["allow"], json!(true));
}

#[test]
fn descriptions_that_cannot_run_are_refused() {
    let refuse = |change: fn(&mut ContainerSpec)| {
        let mut spec = container();
        change(&mut spec);
        runtime_spec(&spec, &host()).unwrap_err().to_string()
    };
    assert_eq!(refuse(|s| s.args.clear()), "container `0123456789abcdef` has no command");
    assert_eq!(refuse(|s| s.cwd = "here".into()), "the working directory `here` is not an absolute path");
    assert_eq!(refuse(|s| s.env.push("A=\0".into())), "the environment contains a NUL byte");
    assert_eq!(refuse(|s| s.capabilities.add.push("FLY".into())), "there is no capability `FLY`");
}
