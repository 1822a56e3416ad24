//! Which system calls the default profile allows: data. The same calls as Docker Engine 28's profile, grouped by what they are for,
//! and without `AF_ALG` sockets (the kernel's cryptography API, a steady source of privilege escalations that containers have no use for).

use crate::Architecture;

/// Allowed whatever the container's capabilities are. Names that a libseccomp does not know are skipped by it, and those system calls
/// answer `ENOSYS` (see `rcon-shim`), so that programs fall back.
pub(super) const ALWAYS: [&str; 15] = [
    // Files by path.
    "access chdir chmod chown chown32 creat faccessat faccessat2 fchmodat fchmodat2 fchownat fstatat64 futimesat getcwd lchown lchown32
     link linkat lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 readlink readlinkat rename
     renameat renameat2 rmdir stat stat64 statfs statfs64 statx symlink symlinkat truncate truncate64 unlink unlinkat utime utimensat
     utimensat_time64 utimes listmount statmount",
    // Files by descriptor.
    "close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 fallocate fchdir fchmod fchown fchown32 fcntl fcntl64 fdatasync
     flock fstat fstat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 getdents getdents64 ioctl _llseek lseek pipe pipe2 pread64 preadv
     preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee vmsplice write writev
     cachestat",
    // Extended attributes.
    "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr lsetxattr
     removexattr removexattrat setxattr setxattrat",
    // Waiting for descriptors, and notification.
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 fanotify_mark
     inotify_add_watch inotify_init inotify_init1 inotify_rm_watch _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select
     signalfd signalfd4",
    // Asynchronous I/O of the old kind (io_uring is left out since Engine 25).
    "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioprio_get ioprio_set",
    // Memory.
    "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync
     munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages",
    // Processes and threads; clone and clone3 have rules of their own.
    "alarm execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid getsid gettid pause
     pidfd_open pidfd_send_signal prctl restart_syscall rseq set_robust_list set_thread_area set_tid_address setpgid setsid uretprobe vfork
     wait4 waitid waitpid",
    // Locks between threads.
    "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake",
    // Signals.
    "kill rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
     rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn tgkill tkill",
    // Clocks and timers; setting the clock needs CAP_SYS_TIME, which the kernel checks for the adjusting calls.
    "adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
     clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun timer_gettime
     timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times",
    // Sockets; socket itself has rules of its own. socketcall hides its arguments from any filter.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg
     sendmsg sendto setsockopt shutdown socketcall socketpair",
    // System V and POSIX interprocess communication.
    "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget
     msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
    // Users, groups and capabilities.
    "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid getresuid32
     getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32
     setresuid setresuid32 setreuid setreuid32 setuid setuid32",
    // Scheduling and limits.
    "getpriority getrlimit getrusage prlimit64 sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
     sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
     sched_yield setpriority setrlimit ugetrlimit",
    // Confining oneself further, and asking what there is.
    "getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self riscv_hwprobe seccomp sysinfo umask uname",
];

/// Allowed to every process on kernels that filter the tracer too ([`PTRACE_SINCE`]).
pub(super) const TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// Before 4.8 a traced process could leave its filter (seccomp(2), "ptrace").
pub(super) const PTRACE_SINCE: (u32, u32) = (4, 8);

/// Arguments of personality(2) that change nothing about security: PER_LINUX, PER_LINUX32, both with UNAME26, and the question itself.
pub(super) const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// AF_ALG of socket.h.
pub(super) const AF_ALG: u64 = 38;
/// AF_VSOCK of socket.h: reaches the hypervisor, and is not bound to a network namespace.
pub(super) const AF_VSOCK: u64 = 40;

/// The flags of clone(2) that make namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
pub(super) const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// Allowed to containers that have the capability (its name, without `CAP_`).
pub(super) const BY_CAPABILITY: [(&str, &str); 14] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr
         mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2
         unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Allowed on one architecture.
pub(super) const fn by_architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "arch_prctl modify_ldt",
        Architecture::Aarch64 => "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
        Architecture::Riscv64 => "riscv_flush_icache",
        Architecture::Ppc64le => "swapcontext sync_file_range2",
        Architecture::S390x => "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    }
}
