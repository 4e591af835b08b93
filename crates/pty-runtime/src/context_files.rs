//! Files that an agent finds in its folder when it starts.
//!
//! The folder may be one that an agent before it has filled, with links that lead anywhere. So
//! every step goes from an open folder to an entry of it, and no link is ever followed.

use std::{
    fs::File,
    io::{self, Write},
    path::{Component, Path},
};

use runtime_protocol::ContextFile;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat},
    io::Errno,
};

use crate::{problem::Problem, records};

/// Files per agent: a memory file, settings of its tools, and room to spare.
const FILES_MAX: usize = 64;
/// Bytes of all files of one agent together; the request around them may have 10 MiB.
const CONTENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one path, far below the 4,096 that the kernel takes.
const PATH_BYTES_MAX: usize = 1024;
/// Folders inside folders, so that a path cannot make hundreds of them.
const DEPTH_MAX: usize = 16;
/// How a folder is opened on the way to a file.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Checks paths and amounts, before anything is started. `field` is how the request calls them.
///
/// Errors: `Invalid`, naming the file.
pub(crate) fn check(field: &str, files: &[ContextFile]) -> Result<(), Problem> {
    if files.len() > FILES_MAX {
        return Err(Problem::invalid(field, format!("must be at most {FILES_MAX} files")));
    }
    if files.iter().map(|file| file.content.len()).sum::<usize>() > CONTENT_BYTES_MAX {
        return Err(Problem::invalid(field, format!("must be at most {CONTENT_BYTES_MAX} bytes together")));
    }
    match files.iter().find(|file| !is_inside(&file.path)) {
        Some(file) => Err(Problem::invalid(field, format!("{:?} is not a path inside of the agent's folder", file.path))),
        None => Ok(()),
    }
}

/// Writes `files` below `folder`, which is a real path; what is there already is replaced.
///
/// Errors: `Invalid` where a link or a file is in the way, `SpawnFailed` for any other failure.
pub(crate) fn write(folder: &Path, files: &[ContextFile]) -> Result<(), Problem> {
    for file in files {
        write_one(folder, file).map_err(|errno| match errno {
            // What opening a link, or a file as a folder, comes to.
            Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::MLINK => {
                Problem::invalid("contextFiles", format!("{:?} leads through something that is no folder", file.path))
            }
            other => Problem::SpawnFailed(format!("file {:?}: {}", file.path, io::Error::from(other))),
        })?;
    }
    Ok(())
}

/// Relative, of plain names only, with a name at its end, and not in the runtime's own folder, which
/// an agent's may hold.
fn is_inside(path: &str) -> bool {
    let own = Path::new(path).starts_with(records::FOLDER);
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let depth = Path::new(path).components().count();
    plain && !own && (1..=DEPTH_MAX).contains(&depth) && path.len() <= PATH_BYTES_MAX && !path.contains('\0') && !path.ends_with('/')
}

fn write_one(folder: &Path, file: &ContextFile) -> Result<(), Errno> {
    let mut parts: Vec<_> = Path::new(&file.path).components().collect();
    let Some(name) = parts.pop() else {
        return Err(Errno::INVAL);
    };
    let mut parent = openat(CWD, folder, FOLDER, Mode::empty())?;
    for part in parts {
        match mkdirat(&parent, part.as_os_str(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        parent = openat(&parent, part.as_os_str(), FOLDER, Mode::empty())?;
    }
    // A new file instead of a new content: what is there may be a link, a pipe that blocks, or
    // another name of a file that lies elsewhere.
    match unlinkat(&parent, name.as_os_str(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(&parent, name.as_os_str(), new, Mode::RUSR | Mode::WUSR)?;
    let written = File::from(made).write_all(file.content.as_bytes());
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn file(path: &str) -> ContextFile {
        ContextFile { path: path.into(), content: "hello".into() }
    }

    #[test]
    fn a_path_that_could_lead_outside_is_refused() {
        for path in ["", "/etc/passwd", "..", "../x", "a/../b", "./a", "a/", "a\0b", ".runtime/x", &"a/".repeat(20), &"a".repeat(2000)] {
            assert!(check("contextFiles", &[file(path)]).is_err(), "{path:?}");
        }
        for path in ["CLAUDE.md", ".mcp.json", "notes/today/plan.md", "a//b", "..."] {
            assert!(check("contextFiles", &[file(path)]).is_ok(), "{path:?}");
        }
        assert!(check("contextFiles", &vec![file("a"); FILES_MAX + 1]).is_err());
        let large = ContextFile { path: "a".into(), content: "x".repeat(CONTENT_BYTES_MAX + 1) };
        assert!(check("contextFiles", &[large]).is_err());
    }

    #[test]
    fn no_link_is_followed_wherever_it_lies() {
        let base = tempfile::tempdir().unwrap();
        let (folder, outside) = (base.path().join("agent"), base.path().join("outside"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("owned"), "mine").unwrap();
        symlink(&outside, folder.join("link")).unwrap();
        symlink(outside.join("owned"), folder.join("file")).unwrap();
        fs::hard_link(outside.join("owned"), folder.join("twin")).unwrap();

        assert!(matches!(write(&folder, &[file("link/new")]), Err(Problem::Invalid(_))));
        write(&folder, &[file("file"), file("twin"), file("deep/er/plan.md")]).unwrap();
        assert_eq!(fs::read_to_string(outside.join("owned")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        for written in ["file", "twin", "deep/er/plan.md"] {
            assert_eq!(fs::read_to_string(folder.join(written)).unwrap(), "hello", "{written}");
        }
        assert!(matches!(write(&folder, &[file("deep")]), Err(Problem::Invalid(_))));
        assert!(matches!(write(&folder, &[file("twin/x")]), Err(Problem::Invalid(_))));
    }
}
