import CloacinaPostgres

/// A way to the server: its Unix socket or TCP.
struct Route: Sendable {
    let name: String
    let target: Target

    /// The way that was asked for, and the other one if the server is on this machine and answers there.
    static func all(to target: Target) async throws -> [Route] {
        let (endpoint, directories) = try await PostgresConnection.withConnection(target.configuration) { connection in
            let rows = try await connection.query("SELECT current_setting('unix_socket_directories')")
            return (connection.endpoint, try rows.single(as: String.self))
        }
        let isSocket = endpoint.host.hasPrefix("/") || endpoint.host.hasPrefix("@")
        var routes = [Route(name: isSocket ? "socket" : "tcp", target: target)]
        let directory = directories.split(separator: ",").first.map { String($0.trimming(while: \.isWhitespace)) }
        let otherHost = isSocket ? "127.0.0.1" : directory
        guard isSocket || ["localhost", "127.0.0.1", "::1"].contains(endpoint.host), let otherHost else {
            return routes
        }
        let other = target.reached(host: otherHost, port: endpoint.port)
        do {
            try await PostgresConnection.withConnection(other.configuration) { _ = try await $0.query("SELECT 1") }
            routes.append(Route(name: isSocket ? "tcp" : "socket", target: other))
        } catch {
            progress("no figures for \(isSocket ? "TCP" : "the socket"): the server does not answer there")
        }
        return routes
    }
}

extension Substring {
    fileprivate func trimming(while predicate: (Character) -> Bool) -> Substring {
        var rest = self.drop(while: predicate)
        while let last = rest.last, predicate(last) { rest.removeLast() }
        return rest
    }
}
