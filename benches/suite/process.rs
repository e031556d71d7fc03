//! The measured server: it runs on a core of its own, and the kernel tells how much processor time and memory it uses.

use std::{
    collections::HashMap,
    fs, io,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The core of the servers and of all processes they start.
pub const SERVER_CORE: usize = 0;
/// The core of the load generator.
pub const OWN_CORE: usize = 1;

/// A running server and all processes it has started.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// The time from its start to its first answer.
    pub took: Duration,
}

/// A command that runs on the servers' core.
pub fn pinned(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(SERVER_CORE.to_string()).arg(program);
    command
}

impl Server {
    /// Starts a command that will listen on `port`, and waits until `ask` is answered 200.
    pub fn start(mut command: Command, port: u16, ask: &[u8], log: &Path, start_timeout: Duration) -> io::Result<Self> {
        let log_file = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file).process_group(0);
        let begun = Instant::now();
        let mut server = Self { child: command.spawn()?, address: ([127, 0, 0, 1], port).into(), took: Duration::ZERO };
        // Polls without a pause: a pause would be part of the measured time.
        while !answers(server.address, ask) {
            if let Some(status) = server.child.try_wait()? {
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(io::Error::other(format!("it ended with {status}: {said}")));
            }
            if begun.elapsed() > start_timeout {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it never answered"));
            }
            std::thread::yield_now();
        }
        server.took = begun.elapsed();
        Ok(server)
    }

    /// Starts counting the processor time of all its processes.
    pub fn meter(&self) -> Meter<'_> {
        Meter { server: self, before: self.tree().into_iter().map(|pid| (pid, cpu_of(pid))).collect() }
    }

    /// Proportional set size of all its processes, in bytes.
    pub fn memory(&self) -> u64 {
        self.tree().iter().map(|pid| status(*pid, "smaps_rollup", "Pss:")).sum()
    }

    /// Resets the peak of the resident memory of all its processes. Returns their present one, in bytes.
    pub fn forget_peak(&self) -> u64 {
        for pid in self.tree() {
            // proc(5): writing 5 resets the peak. Fails for a process that has ended.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        self.tree().iter().map(|pid| status(*pid, "status", "VmRSS:")).sum()
    }

    /// The peak of their resident memory since [`Self::forget_peak`], in bytes.
    pub fn peak(&self) -> u64 {
        self.tree().iter().map(|pid| status(*pid, "status", "VmHWM:")).sum()
    }

    /// The process and all its descendants.
    fn tree(&self) -> Vec<u32> {
        let mut below: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The process name, in parentheses, may contain anything, so the fields are read from behind it.
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            if let Some(parent) = parent {
                below.entry(parent).or_default().push(pid);
            }
        }
        let (mut tree, mut at) = (vec![self.child.id()], 0);
        while let Some(pid) = tree.get(at) {
            tree.extend(below.get(pid).cloned().unwrap_or_default());
            at += 1;
        }
        tree
    }

    fn signal(tree: &[u32], signal: rustix::process::Signal) {
        for pid in tree {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
                // Fails if the process has already ended.
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

/// Counts the processor time of a server from the moment this was made.
pub struct Meter<'a> {
    server: &'a Server,
    before: HashMap<u32, Duration>,
}

impl Meter<'_> {
    /// The processor time since then, including processes that were started meanwhile.
    pub fn read(&self) -> Duration {
        let before = |pid| self.before.get(&pid).copied().unwrap_or_default();
        self.server.tree().into_iter().map(|pid| cpu_of(pid).saturating_sub(before(pid))).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let tree = self.tree();
        Self::signal(&tree, rustix::process::Signal::TERM);
        let begun = Instant::now();
        let is_alive = |pid: &&u32| Path::new(&format!("/proc/{pid}/task")).exists() && cpu_of(**pid) > Duration::ZERO;
        while begun.elapsed() < Duration::from_secs(15) {
            let _ = self.child.try_wait();
            if tree.iter().filter(is_alive).count() == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Self::signal(&tree, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Whether a server answers 200.
fn answers(address: SocketAddr, ask: &[u8]) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut head = [0; 12];
    stream.write_all(ask).is_ok() && stream.read_exact(&mut head).is_ok() && head.ends_with(b" 200")
}

/// The processor time of all living threads of a process.
fn cpu_of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(tasks.map(|task| of(task.path())).sum())
}

/// A field of a file in `/proc` that is given in kB, in bytes.
fn status(pid: u32, file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Processor time this process has spent.
pub fn own_cpu() -> Duration {
    cpu_of(std::process::id())
}

/// The busy time of both cores, and the time that the host took from them.
pub fn machine_cpu() -> (Duration, Duration) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    let ticks = |at: &[usize]| Duration::from_millis(10 * at.iter().filter_map(|i| fields.get(*i)).sum::<u64>());
    // user, nice, system, irq, softirq; steal.
    (ticks(&[0, 1, 2, 5, 6]), ticks(&[7]))
}

/// Pins this process, and with it the generator, to its own core.
pub fn stay_on_own_core() -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(OWN_CORE);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// A port on which nobody listens.
pub fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
