//! What Prometheus' own client libraries say of a process, read from `/proc` and from the system.

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};
use std::fs;

/// A look at this process. What the system does not tell is `None`.
#[derive(Debug)]
pub struct Process {
    pub cpu_seconds: f64,
    pub virtual_bytes: Option<u64>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<usize>,
    /// `None` where there is no limit.
    pub max_fds: Option<u64>,
    /// Seconds since 1970.
    pub started_at: Option<f64>,
}

impl Process {
    pub fn look() -> Self {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let memory = fs::read_to_string("/proc/self/statm").ok();
        // Fields in pages: all, resident.
        let pages = |field: usize| memory.as_deref()?.split(' ').nth(field)?.parse::<u64>().ok();
        let bytes = |field| Some(pages(field)?.saturating_mul(rustix::param::page_size() as u64));
        Self {
            cpu_seconds: seconds(used.tv_sec) + seconds(used.tv_nsec) / 1e9,
            virtual_bytes: bytes(0),
            resident_bytes: bytes(1),
            // Less the one that this look opened.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1)),
            max_fds: getrlimit(Resource::Nofile).current,
            started_at: started_at(),
        }
    }
}

/// When this process started, in seconds since 1970.
fn started_at() -> Option<f64> {
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted: i64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let process = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may have spaces in it. The start is the 22nd: the 20th behind the name.
    let ticks: i64 = process.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    let per_second = i64::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(seconds(booted) + seconds(ticks) / seconds(per_second))
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn seconds(whole: i64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn a_look_tells_of_this_process() {
        let file = fs::File::open("/proc/self/stat").expect("there");
        let with_it = Process::look();
        assert!(with_it.open_fds.expect("Linux") >= 4, "{with_it:?}");
        drop(file);
        let (resident, all) = (with_it.resident_bytes.expect("Linux"), with_it.virtual_bytes.expect("Linux"));
        assert!(resident > 1024 * 1024 && all > resident, "{with_it:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let age = now - with_it.started_at.expect("Linux");
        // A test process is as old as its tests; the boot time is a whole second.
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!(Process::look().cpu_seconds >= with_it.cpu_seconds && with_it.cpu_seconds > 0.0);
    }
}
