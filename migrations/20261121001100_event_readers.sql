-- What readers of events need: who was behind one, the events of one workspace after a position, and news of who
-- may see which space. Adds a column without a default, an index over at most a day of events, and triggers on tables
-- of Raven Docs: brief exclusive locks on outbox, space_members, group_users, spaces and groups.

-- The person behind it, if one is; not a foreign key, since an event outlives an account.
ALTER TABLE outbox ADD COLUMN actor_id uuid;
CREATE INDEX outbox_workspace_seq_idx ON outbox (workspace_id, seq);

-- Whoever changes who belongs to a space tells every node, as whoever changes a role does: `user <workspace> <id>` for
-- one person, and for a whole group or space `workspace <id> <id>`, upon which everybody who listens is looked up again.
CREATE FUNCTION raven_space_members_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    concerned record;
    home uuid;
BEGIN
    FOR concerned IN SELECT DISTINCT x.user_id, x.space_id FROM (VALUES
        (CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE OLD.user_id END, CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE OLD.space_id END),
        (CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE NEW.user_id END, CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE NEW.space_id END)
    ) AS x (user_id, space_id) WHERE x.space_id IS NOT NULL
    LOOP
        SELECT s.workspace_id INTO home FROM spaces s WHERE s.id = concerned.space_id;
        IF home IS NOT NULL AND concerned.user_id IS NOT NULL THEN
            PERFORM pg_notify('raven_access', 'user ' || home::text || ' ' || concerned.user_id::text);
        ELSIF home IS NOT NULL THEN
            PERFORM pg_notify('raven_access', 'workspace ' || home::text || ' ' || home::text);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER raven_space_member_changed AFTER INSERT OR UPDATE OR DELETE ON space_members
    FOR EACH ROW EXECUTE FUNCTION raven_space_members_changed();

CREATE FUNCTION raven_group_users_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed record;
BEGIN
    FOR changed IN SELECT u.id, u.workspace_id FROM users u WHERE u.workspace_id IS NOT NULL AND u.id IN (
        CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE OLD.user_id END, CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE NEW.user_id END)
    LOOP
        PERFORM pg_notify('raven_access', 'user ' || changed.workspace_id::text || ' ' || changed.id::text);
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER raven_group_user_changed AFTER INSERT OR UPDATE OR DELETE ON group_users
    FOR EACH ROW EXECUTE FUNCTION raven_group_users_changed();

CREATE FUNCTION raven_place_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('raven_access', 'workspace ' || OLD.workspace_id::text || ' ' || OLD.workspace_id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER raven_space_ended AFTER UPDATE ON spaces FOR EACH ROW
    WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at OR OLD.workspace_id IS DISTINCT FROM NEW.workspace_id)
    EXECUTE FUNCTION raven_place_changed();
CREATE TRIGGER raven_space_deleted AFTER DELETE ON spaces FOR EACH ROW EXECUTE FUNCTION raven_place_changed();
CREATE TRIGGER raven_group_ended AFTER UPDATE ON groups FOR EACH ROW
    WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at) EXECUTE FUNCTION raven_place_changed();
CREATE TRIGGER raven_group_deleted AFTER DELETE ON groups FOR EACH ROW EXECUTE FUNCTION raven_place_changed();
