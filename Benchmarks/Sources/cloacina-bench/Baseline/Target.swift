import CLibPQBaseline
import CloacinaPostgres
import Foundation

/// The server under measurement, in the forms that the driver, libpq and the command-line tools take.
struct Target: Sendable {
    struct InvalidConnectionString: Error, CustomStringConvertible {
        var description: String { "libpq can't read the connection string" }
    }

    /// libpq's options that were given, by keyword.
    private var options: [String: String]
    /// The environment variable that stands for a keyword.
    private var variables: [String: String] = [:]

    init(connectionString: String) throws {
        self.options = [:]
        guard let start = unsafe PQconninfoParse(connectionString, nil) else { throw InvalidConnectionString() }
        defer { unsafe PQconninfoFree(start) }
        var option = unsafe start
        while let keyword = unsafe option.pointee.keyword {
            let name = unsafe String(cString: keyword)
            if let value = unsafe option.pointee.val { unsafe self.options[name] = String(cString: value) }
            if let variable = unsafe option.pointee.envvar { unsafe self.variables[name] = String(cString: variable) }
            unsafe option += 1
        }
    }

    /// The same server by another way; `host` may be the directory of a Unix socket.
    func reached(host: String, port: Int) -> Target {
        var copy = self
        copy.options["host"] = host
        copy.options["port"] = "\(port)"
        copy.options["hostaddr"] = nil
        return copy
    }

    /// Another database of the same server.
    func inDatabase(_ name: String) -> Target {
        var copy = self
        copy.options["dbname"] = name
        return copy
    }

    /// The same database as another role.
    func asRole(_ role: String, password: String) -> Target {
        var copy = self
        copy.options["user"] = role
        copy.options["password"] = password
        return copy
    }

    /// Keyword and value pairs.
    var connectionString: String {
        self.options.map { keyword, value in
            let escaped = value.replacing("\\", with: "\\\\").replacing("'", with: "\\'")
            return "\(keyword)='\(escaped)'"
        }.joined(separator: " ")
    }

    var configuration: PostgresConfiguration {
        var configuration = PostgresConfiguration(self.connectionString)
        configuration.applicationName = "cloacina-bench"
        return configuration
    }

    /// What a tool needs in its environment, so that no password shows in the process list.
    var environment: [String: String] {
        var environment = ProcessInfo.processInfo.environment
        for (keyword, value) in self.options {
            if let variable = self.variables[keyword] { environment[variable] = value }
        }
        return environment
    }
}
