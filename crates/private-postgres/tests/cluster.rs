//! Life and death of a real cluster, with the Postgres of this machine.

#![expect(clippy::unwrap_used, reason = "a panic that names the line is how a test fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use private_postgres::{Binaries, Cluster, Error, Options, default_cache_dir, find_binaries};

/// Names the folder that a child process of a test keeps a cluster in.
const HOLD: &str = "PRIVATE_POSTGRES_TEST_HOLD";

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("pp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn start(&self) -> Result<Cluster, Error> {
        start(&self.0)
    }

    fn data(&self) -> PathBuf {
        self.0.join("postgres/data")
    }

    fn socket(&self) -> PathBuf {
        self.0.join("postgres/run/.s.PGSQL.5432")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn binaries() -> Binaries {
    find_binaries(None, &default_cache_dir().unwrap(), &mut |step| println!("{step}")).unwrap()
}

fn start(folder: &Path) -> Result<Cluster, Error> {
    Cluster::start(&binaries(), folder, &Options { durable: false, max_connections: 10 })
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "still not so: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

fn value(cluster: &Cluster, database: &str, sql: &str) -> Option<String> {
    cluster.query(database, sql).unwrap()[0][0].clone()
}

#[test]
fn a_cluster_starts_runs_statements_and_stops() {
    let folder = Folder::new();
    let mut cluster = folder.start().unwrap();
    assert!(!cluster.is_attached());
    UnixStream::connect(folder.socket()).unwrap();
    assert_eq!(value(&cluster, "postgres", "SHOW data_checksums").as_deref(), Some("on"));
    assert_eq!(value(&cluster, "postgres", "SHOW server_encoding").as_deref(), Some("UTF8"));
    assert_eq!(value(&cluster, "postgres", "SHOW listen_addresses").as_deref(), Some(""));

    cluster.ensure_database("gen").unwrap();
    cluster.ensure_database("gen").unwrap();
    cluster.execute("gen", "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (NULL)").unwrap();
    let rows = cluster.query("gen", "SELECT id FROM t ORDER BY id").unwrap();
    assert_eq!(rows, [[Some("1".to_owned())], [None]]);
    let refused = cluster.execute("gen", "SELECT 1; SELECT * FROM missing").unwrap_err();
    assert!(matches!(&refused, Error::Sql { code, .. } if code == "42P01"), "{refused}");
    cluster.drop_database("gen").unwrap();

    cluster.stop().unwrap();
    assert!(UnixStream::connect(folder.socket()).is_err());
    assert!(!folder.data().join("postmaster.pid").exists());
    cluster.stop().unwrap();
}

#[test]
fn a_second_start_attaches_and_does_not_stop_it() {
    let folder = Folder::new();
    let first = folder.start().unwrap();
    let mut second = folder.start().unwrap();
    assert!(second.is_attached());
    assert_eq!(second.url("x"), first.url("x"));
    second.stop().unwrap();
    assert!(Cluster::attach(&folder.0).is_some());

    drop(first);
    assert!(Cluster::attach(&folder.0).is_none());
}

#[test]
fn committed_rows_survive_a_kill_of_the_server() {
    let folder = Folder::new();
    let cluster = Cluster::start(&binaries(), &folder.0, &Options::default()).unwrap();
    cluster.execute("postgres", "CREATE TABLE t AS SELECT 7 AS id").unwrap();
    let log = fs::read_to_string(folder.0.join("postgres/postgres.log")).unwrap();
    kill(cluster.pid().unwrap());
    drop(cluster);
    assert!(folder.data().join("postmaster.pid").exists(), "a killed server leaves its file behind: {log}");

    let again = folder.start().unwrap();
    assert!(!again.is_attached());
    assert_eq!(value(&again, "postgres", "SELECT id FROM t").as_deref(), Some("7"));
}

#[test]
fn a_pid_file_that_names_another_program_does_not_stop_a_start() {
    let folder = Folder::new();
    folder.start().unwrap().stop().unwrap();
    let data = folder.data();
    let socket_dir = folder.0.join("postgres/run");
    let file = format!("{}\n{}\n1\n5432\n{}\n\n1 1\nready\n", std::process::id(), data.display(), socket_dir.display());
    fs::write(data.join("postmaster.pid"), file).unwrap();
    assert!(!folder.start().unwrap().is_attached());
}

#[test]
fn a_server_dies_with_its_parent_and_leaves_a_clean_folder() {
    if let Some(folder) = std::env::var_os(HOLD) {
        hold(Path::new(&folder));
    }
    if !cfg!(target_os = "linux") {
        return;
    }
    let folder = Folder::new();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_dies_with_its_parent_and_leaves_a_clean_folder", "--nocapture"])
        .env(HOLD, &folder.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("holding")), "the child never had a cluster");

    parent.kill().unwrap();
    parent.wait().unwrap();
    until("the server is gone", || !folder.data().join("postmaster.pid").exists());
    let again = folder.start().unwrap();
    assert_eq!(value(&again, "postgres", "SELECT id FROM t").as_deref(), Some("7"));
}

/// Keeps a cluster until this process is killed. The thread that starts it ends at once: the
/// server's life must hang on the process, not on a thread.
fn hold(folder: &Path) -> ! {
    let folder = folder.to_owned();
    let cluster = thread::spawn(move || start(&folder).unwrap()).join().unwrap();
    cluster.execute("postgres", "CREATE TABLE t AS SELECT 7 AS id").unwrap();
    println!("holding");
    loop {
        thread::park();
    }
}

#[test]
fn a_socket_path_that_is_too_long_is_refused_with_that_reason() {
    let folder = Folder::new();
    let deep = folder.0.join("x".repeat(100));
    let refused = start(&deep).unwrap_err();
    assert!(matches!(&refused, Error::SocketPathTooLong { length, .. } if *length > 107), "{refused}");
    assert!(!deep.join("postgres/data").exists());
}

#[test]
fn data_of_another_major_version_is_refused_and_left_alone() {
    let folder = Folder::new();
    folder.start().unwrap().stop().unwrap();
    let version = folder.data().join("PG_VERSION");
    fs::write(&version, "12\n").unwrap();
    let refused = folder.start().unwrap_err();
    assert!(matches!(&refused, Error::VersionMismatch { found, .. } if found == "12"), "{refused}");
    assert_eq!(fs::read_to_string(version).unwrap(), "12\n");
    assert!(folder.data().join("global/pg_control").exists());
}

#[test]
fn a_folder_with_other_files_is_not_taken() {
    let folder = Folder::new();
    fs::create_dir_all(folder.data()).unwrap();
    fs::write(folder.data().join("letter.txt"), "dear").unwrap();
    let refused = folder.start().unwrap_err();
    assert!(matches!(refused, Error::NotACluster { .. }), "{refused}");
}

#[test]
fn a_folder_that_its_user_cannot_enter_is_refused_with_that_reason() {
    let folder = Folder::new();
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return; // Only root runs Postgres as somebody else.
    }
    let closed = folder.0.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let refused = start(&closed).unwrap_err();
    assert!(matches!(refused, Error::FolderOutOfReach { .. }), "{refused}");
}

#[test]
fn a_log_that_grew_too_large_makes_room() {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("postgres")).unwrap();
    let log = folder.0.join("postgres/postgres.log");
    fs::write(&log, vec![b'\n'; 9 * 1024 * 1024]).unwrap();
    let _cluster = folder.start().unwrap();
    assert!(fs::metadata(&log).unwrap().len() < 1024 * 1024);
    assert!(folder.0.join("postgres/postgres.log.1").exists());
}

#[test]
fn an_override_without_postgres_is_refused_and_not_passed_over() {
    let folder = Folder::new();
    let refused = find_binaries(Some(&folder.0), &folder.0, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, Error::UnusableBinaries { .. }), "{refused}");
}
