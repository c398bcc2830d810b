-- While a new version starts, a process of the version before may still run on the same store. It revokes without a revision,
-- and the new process, which reads what is newer than its own revision, would never learn of that.
CREATE TRIGGER revoked_tokens_of_earlier_processes AFTER INSERT ON revoked_tokens WHEN NEW.revision = 0 BEGIN
    UPDATE revoked_tokens SET revision = (SELECT value + 1 FROM revisions WHERE of = 'revocations') WHERE jti = NEW.jti;
END;
CREATE TRIGGER client_ends_of_earlier_processes AFTER INSERT ON client_not_before WHEN NEW.revision = 0 BEGIN
    UPDATE client_not_before SET revision = (SELECT value + 1 FROM revisions WHERE of = 'revocations')
    WHERE client_id = NEW.client_id;
END;
CREATE TRIGGER later_client_ends_of_earlier_processes AFTER UPDATE OF until ON client_not_before
WHEN NEW.revision = OLD.revision BEGIN
    UPDATE client_not_before SET revision = (SELECT value + 1 FROM revisions WHERE of = 'revocations')
    WHERE client_id = NEW.client_id;
END;
