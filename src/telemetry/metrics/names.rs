//! The name of every metric, with what it is. `docs/metrics.md` has the same in a table, which a test compares with a scrape.

/// A metric's name and its help text.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    pub name: &'static str,
    pub help: &'static str,
}

macro_rules! names {
    ($($constant:ident $name:literal $help:literal;)*) => {
        $(pub const $constant: Name = Name { name: $name, help: $help };)*
    };
}

names! {
    BUILD_INFO "doorward_build_info" "Version and platform of this build; always 1.";

    REQUESTS "doorward_http_requests_total" "Requests answered, by method, route and class of status.";
    REQUEST_DURATION "doorward_http_request_duration_seconds" "Time from a request's head to its answer, by method and route.";
    CONNECTIONS "doorward_http_connections" "Open connections of the main listener.";

    SIGN_INS "doorward_sign_ins_total" "Sign-ins with a password, by outcome.";
    REFRESHES "doorward_refreshes_total" "Refreshes, by outcome.";
    EVENTS "doorward_events_total" "Events, by the name they have in the log.";
    DENY_LIST "doorward_deny_list_entries" "Entries of the deny list: users, sessions and tokens that were revoked lately.";

    HASH_QUEUE "doorward_hash_queue" "Passwords that wait for a hashing thread.";
    HASH_WAIT "doorward_hash_wait_seconds" "Time that a password waited for a hashing thread.";
    HASH_DURATION "doorward_hash_duration_seconds" "Time that hashing a password took.";

    USERS "doorward_users" "Accounts, as they were counted last.";
    SESSIONS "doorward_sessions" "Sessions, as they were counted last.";

    STORE_WRITABLE "doorward_store_writable" "Whether changes can be saved: 1, or 0.";
    STORE_QUEUE "doorward_store_queue" "Changes that wait for the writer.";
    STORE_GROUP "doorward_store_group_size" "Changes that were made durable by one sync.";
    STORE_COMMIT "doorward_store_commit_seconds" "Time that a group of changes took, with its sync.";
    STORE_SYNC "doorward_store_sync_seconds" "Time that a sync took.";
    STORE_DISK "doorward_store_disk_bytes" "Space that the database takes on its disk.";
    STORE_FREE "doorward_store_free_bytes" "Space that is free on the database's disk.";
    STORE_MIN_FREE "doorward_store_min_free_bytes" "Free space below which only revocations are saved (server.min_free_mib).";

    BACKUP_LAST "doorward_backup_last_success_timestamp_seconds" "When the last good backup was made; 0 where one is due and none ever was.";
    BACKUP_EVERY "doorward_backup_interval_seconds" "How often a backup is made by itself (backup.every).";

    PROCESS_CPU "process_cpu_seconds_total" "Total user and system CPU time spent in seconds.";
    PROCESS_RESIDENT "process_resident_memory_bytes" "Resident memory size in bytes.";
    PROCESS_VIRTUAL "process_virtual_memory_bytes" "Virtual memory size in bytes.";
    PROCESS_FDS "process_open_fds" "Number of open file descriptors.";
    PROCESS_MAX_FDS "process_max_fds" "Maximum number of open file descriptors.";
    PROCESS_START "process_start_time_seconds" "Start time of the process since unix epoch in seconds.";
}
