//! Keeps every agent's folder under one root.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Component, Path, PathBuf},
};

use crate::{problem::Problem, records};

/// Makes `wanted` (taken from `root` if relative) exist under `root` and gives its real path.
///
/// Errors: as [`find`].
pub(crate) fn under(root: &Path, wanted: &Path) -> Result<PathBuf, Problem> {
    let real = find(root, wanted)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&real)
        .map_err(|error| Problem::SpawnFailed(format!("folder {}: {error}", wanted.display())))?;
    Ok(real)
}

/// The real path of `wanted` under `root`, which alone is made.
///
/// Links are followed before anything is made, so one that leads outside is refused too.
/// Errors: `Invalid` when the folder lies outside, `SpawnFailed` when it cannot be looked for.
pub(crate) fn find(root: &Path, wanted: &Path) -> Result<PathBuf, Problem> {
    let failed = |error: std::io::Error| Problem::SpawnFailed(format!("folder {}: {error}", wanted.display()));
    let outside = || Problem::invalid("workdir", format!("{} is not under the folder for agents", wanted.display()));

    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
    let root = root.canonicalize().map_err(failed)?;
    let mut folder = root.join(wanted);
    let mut missing = Vec::new();
    while !folder.try_exists().map_err(failed)? && fs::symlink_metadata(&folder).is_err() {
        // A `..` behind a part that does not exist yet could point anywhere once it does.
        let Some(Component::Normal(name)) = folder.components().next_back() else {
            return Err(outside());
        };
        missing.push(name.to_owned());
        if !folder.pop() {
            return Err(outside());
        }
    }
    let mut real = folder.canonicalize().map_err(failed)?;
    if !real.starts_with(&root) {
        return Err(outside());
    }
    real.extend(missing.iter().rev());
    if real.starts_with(root.join(records::FOLDER)) {
        return Err(outside());
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_outside_the_root_is_refused_however_it_is_written() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        let outside = base.path().join("outside");
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        for wanted in
            ["..", "../outside", "/etc", "link", "link/new", "a/../../outside/b", "a/../../outside", ".runtime", ".runtime/agents"]
        {
            assert!(matches!(under(&root, Path::new(wanted)), Err(Problem::Invalid(_))), "{wanted}");
        }
        assert!(fs::read_dir(&outside).unwrap().next().is_none());
        assert_eq!(under(&root, Path::new("a/b")).unwrap(), root.canonicalize().unwrap().join("a/b"));
        assert!(root.join("a/b").is_dir());
    }
}
