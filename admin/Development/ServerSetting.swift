import ArgumentParser

/// One `name=value` of postgresql.conf, given on the command line.
struct ServerSetting: Sendable, Hashable, ExpressibleByArgument {
    let name: String
    let value: String

    init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }

    /// Nothing when there is no `=`, the name is not one PostgreSQL could have, or the value holds a control character.
    init?(argument: String) {
        guard let equals = argument.firstIndex(of: "=") else { return nil }
        let name = String(argument[..<equals])
        let value = String(argument[argument.index(after: equals)...])
        let allowed = name.utf8.allSatisfy {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "_")
                || $0 == UInt8(ascii: ".")
        }
        guard !name.isEmpty, allowed, !value.utf8.contains(where: { $0 < 32 }) else { return nil }
        self.init(name.lowercased(), value)
    }

    /// As it is written on the command line.
    var text: String { "\(self.name)=\(self.value)" }

    /// The kept settings with the new ones over them: a later value of a name takes the place of an earlier one.
    static func merged(_ kept: [ServerSetting], _ new: [ServerSetting]) -> [ServerSetting] {
        var merged: [ServerSetting] = []
        for setting in kept + new {
            merged.removeAll { $0.name == setting.name }
            merged.append(setting)
        }
        return merged
    }

    /// What keeps the server private; the command line may not change it.
    static let reserved: Set<String> = [
        "config_file", "data_directory", "external_pid_file", "hba_file", "ident_file", "listen_addresses", "port",
        "unix_socket_directories",
    ]

    /// Few connections are dear on a laptop, many are needed by pool tests; durability stays on.
    static let defaults = [
        ServerSetting("max_connections", "200"),
        ServerSetting("shared_buffers", "64MB"),
    ]
}
