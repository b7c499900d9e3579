/// Parameters that other clients take in a URL of the same form.
enum ForeignParameter {
    /// What to do about a parameter of another client's; nothing when it is none of those that are known here.
    static func advice(_ name: String) -> String? {
        switch name {
        case "ssl":
            "unknown parameter ssl: only ssl=true is understood; use sslmode=disable, prefer, require, verify-ca or verify-full"
        case "schema", "currentSchema", "search_path", "searchpath":
            "unknown parameter \(name): libpq has none; leave it out, or write options=-csearch_path%3Dname"
        case "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout":
            "unknown parameter \(name): it is a setting of the server's; write options=-c\(name)%3Dvalue"
        case "pgbouncer", "connection_limit", "pool_timeout", "pool_size", "max_connections", "socket_timeout",
            "statement_cache_size", "prepareThreshold", "prepared_statements", "sslaccept", "sslidentity", "charset",
            "encoding", "uselibpqcompat", "supa", "workaround":
            "unknown parameter \(name): it belongs to another client; leave it out"
        default: nil
        }
    }
}
