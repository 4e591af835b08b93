//! Lists of the web UI's pages, in the original's form of a page of results (REST contract §2.0).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::time::Timestamp;
use crate::model::{
    ids::{PageId, SpaceId, UserId, WorkspaceId},
    space::{Group as GroupRow, PageEntry, PageRequest, Space as SpaceRow},
    workspace::{Role, User},
};

/// Items that one page holds when the caller does not say.
const LIMIT: i64 = 20;

/// Body that asks for one page of a list.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"page": 1, "limit": 20}))]
pub struct ListRequest {
    #[validate(range(min = 1, max = 100_000, message = "must be a whole number from 1 to 100000"))]
    pub page: Option<i64>,
    #[validate(range(min = 1, max = 100, message = "must be a whole number from 1 to 100"))]
    pub limit: Option<i64>,
    /// Part of a name.
    #[validate(length(max = 100, message = "must be at most 100 characters"))]
    pub query: Option<String>,
}

impl ListRequest {
    #[must_use]
    pub fn request(self) -> PageRequest {
        let query = self.query.map(|query| query.trim().to_owned()).filter(|query| !query.is_empty());
        PageRequest { page: self.page.unwrap_or(1), limit: self.limit.unwrap_or(LIMIT), query }
    }
}

/// Body that asks for recently changed pages.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"page": 1, "limit": 20}))]
pub struct RecentPagesRequest {
    /// Pages of this space only.
    pub space_id: Option<SpaceId>,
    #[validate(range(min = 1, max = 100_000, message = "must be a whole number from 1 to 100000"))]
    pub page: Option<i64>,
    #[validate(range(min = 1, max = 100, message = "must be a whole number from 1 to 100"))]
    pub limit: Option<i64>,
}

impl RecentPagesRequest {
    #[must_use]
    pub fn request(&self) -> PageRequest {
        PageRequest { page: self.page.unwrap_or(1), limit: self.limit.unwrap_or(LIMIT), query: None }
    }
}

/// One page of results.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    pub meta: ListMeta,
}

/// Where a page stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"limit": 20, "page": 1, "hasNextPage": false, "hasPrevPage": false}))]
pub struct ListMeta {
    pub limit: i64,
    pub page: i64,
    pub has_next_page: bool,
    pub has_prev_page: bool,
}

impl<T> List<T> {
    /// The items of one page.
    pub fn of<Row: Into<T>>(items: Vec<Row>, has_next_page: bool, request: &PageRequest) -> Self {
        let meta = ListMeta { limit: request.limit, page: request.page, has_next_page, has_prev_page: request.page > 1 };
        Self { items: items.into_iter().map(Into::into).collect(), meta }
    }
}

/// A space that the caller belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000009", "workspaceId": "019a0000-0000-7000-8000-000000000001", "name": "General", "description": null, "slug": "general", "logo": null, "visibility": "private", "defaultRole": "writer", "creatorId": "019a0000-0000-7000-8000-000000000002", "memberCount": 3, "createdAt": "2030-01-01T09:00:00.000Z", "updatedAt": "2030-01-01T09:00:00.000Z"}))]
pub struct Space {
    pub id: SpaceId,
    pub workspace_id: WorkspaceId,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub description: Option<String>,
    pub slug: String,
    #[schema(required)]
    pub logo: Option<String>,
    pub visibility: String,
    pub default_role: String,
    #[schema(required)]
    pub creator_id: Option<UserId>,
    pub member_count: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<SpaceRow> for Space {
    fn from(space: SpaceRow) -> Self {
        Self {
            id: space.id,
            workspace_id: space.workspace,
            name: space.name,
            description: space.description,
            slug: space.slug,
            logo: space.logo,
            visibility: space.visibility,
            default_role: space.default_role,
            creator_id: space.creator,
            member_count: space.member_count,
            created_at: space.created_at.into(),
            updated_at: space.updated_at.into(),
        }
    }
}

/// A page in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000008", "slugId": "k3v9x1", "title": "Release notes", "icon": null, "parentPageId": null, "creatorId": "019a0000-0000-7000-8000-000000000002", "spaceId": "019a0000-0000-7000-8000-000000000009", "space": {"id": "019a0000-0000-7000-8000-000000000009", "name": "General", "slug": "general", "logo": null}, "createdAt": "2030-01-01T09:00:00.000Z", "updatedAt": "2030-01-01T09:00:00.000Z"}))]
pub struct RecentPage {
    pub id: PageId,
    pub slug_id: String,
    #[schema(required)]
    pub title: Option<String>,
    #[schema(required)]
    pub icon: Option<String>,
    #[schema(required)]
    pub parent_page_id: Option<PageId>,
    #[schema(required)]
    pub creator_id: Option<UserId>,
    pub space_id: SpaceId,
    pub space: SpaceName,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The space that a page is in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000009", "name": "General", "slug": "general", "logo": null}))]
pub struct SpaceName {
    pub id: SpaceId,
    #[schema(required)]
    pub name: Option<String>,
    pub slug: String,
    #[schema(required)]
    pub logo: Option<String>,
}

impl From<PageEntry> for RecentPage {
    fn from(page: PageEntry) -> Self {
        Self {
            id: page.id,
            slug_id: page.slug_id,
            title: page.title,
            icon: page.icon,
            parent_page_id: page.parent,
            creator_id: page.creator,
            space_id: page.space,
            space: SpaceName { id: page.space, name: page.space_name, slug: page.space_slug, logo: page.space_logo },
            created_at: page.created_at.into(),
            updated_at: page.updated_at.into(),
        }
    }
}

/// A group of people.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000004", "workspaceId": "019a0000-0000-7000-8000-000000000001", "name": "Everyone", "description": null, "isDefault": true, "creatorId": "019a0000-0000-7000-8000-000000000002", "memberCount": 3, "createdAt": "2030-01-01T09:00:00.000Z", "updatedAt": "2030-01-01T09:00:00.000Z"}))]
pub struct Group {
    pub id: uuid::Uuid,
    pub workspace_id: WorkspaceId,
    pub name: String,
    #[schema(required)]
    pub description: Option<String>,
    pub is_default: bool,
    #[schema(required)]
    pub creator_id: Option<UserId>,
    pub member_count: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<GroupRow> for Group {
    fn from(group: GroupRow) -> Self {
        Self {
            id: group.id,
            workspace_id: group.workspace,
            name: group.name,
            description: group.description,
            is_default: group.is_default,
            creator_id: group.creator,
            member_count: group.member_count,
            created_at: group.created_at.into(),
            updated_at: group.updated_at.into(),
        }
    }
}

/// A person of the workspace.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000002", "workspaceId": "019a0000-0000-7000-8000-000000000001", "name": "Ada", "email": "ada@example.com", "avatarUrl": null, "role": "admin", "lastLoginAt": null, "deactivatedAt": null, "createdAt": "2030-01-01T09:00:00.000Z"}))]
pub struct Member {
    pub id: UserId,
    pub workspace_id: WorkspaceId,
    #[schema(required)]
    pub name: Option<String>,
    pub email: String,
    #[schema(required)]
    pub avatar_url: Option<String>,
    pub role: Role,
    #[schema(required)]
    pub last_login_at: Option<Timestamp>,
    #[schema(required)]
    pub deactivated_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl From<User> for Member {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            workspace_id: user.workspace_id,
            name: user.name,
            email: user.email,
            avatar_url: user.avatar_url,
            role: user.role,
            last_login_at: user.last_login_at.map(Into::into),
            deactivated_at: user.deactivated_at.map(Into::into),
            created_at: user.created_at.into(),
        }
    }
}
