//! What an agent may be allowed to do: a closed catalogue (REST contract §4.1, §4.2).

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;

/// Where a permission stands in the lists that people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    Read,
    Write,
    Advanced,
}

/// One row of the catalogue.
pub struct Permission {
    pub id: &'static str,
    pub category: Category,
    pub description: &'static str,
    /// Granted to an agent that we spawn when nobody says otherwise.
    pub default: bool,
}

const fn row(id: &'static str, category: Category, default: bool, description: &'static str) -> Permission {
    Permission { id, category, description, default }
}

/// Every permission there is. Membership is an exact match (D-25).
pub const CATALOGUE: [Permission; 23] = [
    row("read:pages", Category::Read, true, "Read pages"),
    row("read:tasks", Category::Read, true, "Read tasks"),
    row("read:projects", Category::Read, true, "Read projects"),
    row("read:memory", Category::Read, true, "Read agent memory"),
    row("read:spaces", Category::Read, false, "List spaces and their members"),
    row("read:users", Category::Read, false, "List people of the workspace"),
    row("read:comments", Category::Read, false, "Read comments"),
    row("read:attachments", Category::Read, false, "Read attachments"),
    row("write:pages", Category::Write, false, "Create and edit pages"),
    row("write:tasks", Category::Write, false, "Create and edit tasks"),
    row("write:projects", Category::Write, false, "Create and edit projects"),
    row("write:memory", Category::Write, false, "Store agent memory"),
    row("write:comments", Category::Write, false, "Write comments"),
    row("write:spaces", Category::Write, false, "Edit spaces"),
    row("write:attachments", Category::Write, false, "Upload attachments"),
    row("delete:pages", Category::Advanced, false, "Delete pages"),
    row("delete:tasks", Category::Advanced, false, "Delete tasks"),
    row("assign:tasks", Category::Advanced, false, "Assign tasks to others"),
    row("delegate:agents", Category::Advanced, false, "Delegate tasks to other agents"),
    row("execute:research", Category::Advanced, false, "Run research"),
    row("execute:search", Category::Advanced, false, "Search the workspace"),
    row("execute:ai", Category::Advanced, false, "Use AI features"),
    row("execute:swarm", Category::Advanced, false, "Run coding swarms"),
];

/// A spelling that Raven's own page offers, and what it means here.
const ALIASES: [(&str, &str); 1] = [("search", "execute:search")];

/// A set of permissions, all of them from the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionSet(BTreeSet<&'static str>);

/// Strings that are in no catalogue, in the order they were given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown permissions: {}", .0.join(", "))]
pub struct UnknownPermissions(pub Vec<String>);

impl PermissionSet {
    /// Reads what a caller sent: every string must be in the catalogue; repeats count once.
    pub fn parse<S: AsRef<str>>(strings: &[S]) -> Result<Self, UnknownPermissions> {
        let mut known = BTreeSet::new();
        let mut unknown = Vec::new();
        for text in strings.iter().map(AsRef::as_ref) {
            match find(text) {
                Some(id) => drop(known.insert(id)),
                None => unknown.push(text.to_owned()),
            }
        }
        if unknown.is_empty() { Ok(Self(known)) } else { Err(UnknownPermissions(unknown)) }
    }

    /// Reads what is stored. A permission that this version does not know grants nothing here.
    #[must_use]
    pub fn known<S: AsRef<str>>(strings: &[S]) -> Self {
        Self(strings.iter().filter_map(|text| find(text.as_ref())).collect())
    }

    /// What a spawned agent gets when nobody says otherwise.
    #[must_use]
    pub fn defaults() -> Self {
        Self(CATALOGUE.iter().filter(|p| p.default).map(|p| p.id).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    /// What is in either.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(|&id| id.to_owned()).collect()
    }
}

fn find(text: &str) -> Option<&'static str> {
    let wanted = ALIASES.iter().find(|(alias, _)| *alias == text).map_or(text, |(_, id)| id);
    CATALOGUE.iter().map(|p| p.id).find(|id| *id == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_of_the_catalogue_are_permissions() {
        let refused = PermissionSet::parse(&["read:pages", "constructor", "READ:PAGES", "read:pages "]);
        let expected = ["constructor", "READ:PAGES", "read:pages "].map(str::to_owned).to_vec();
        assert_eq!(refused, Err(UnknownPermissions(expected)));
    }

    #[test]
    fn repeats_count_once_and_search_is_understood() {
        let set = PermissionSet::parse(&["search", "execute:search", "read:pages"]).unwrap();
        assert_eq!(set.to_strings(), ["execute:search", "read:pages"]);
    }

    #[test]
    fn the_catalogue_names_each_permission_once() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|p| p.id).collect();
        assert_eq!(names.len(), CATALOGUE.len());
    }
}
