import CLibPQ

/// Owns a list of connection options that libpq made.
@safe struct ConnectionOptionList: ~Copyable {
    private let start: UnsafeMutablePointer<PQconninfoOption>?

    /// One option: its name, its value if it has one, and whether libpq says that it is a secret.
    struct Option {
        let name: String
        let value: String?
        let isSecret: Bool
    }

    /// Every option that this libpq knows, with what the environment says of it.
    static func defaults() -> ConnectionOptionList { unsafe ConnectionOptionList(adopting: PQconndefaults()) }

    /// What a connection string says; nothing where libpq can't read it. Its message repeats the string, so it is dropped.
    init?(parsing connectionString: String) {
        guard let start = unsafe PQconninfoParse(connectionString, nil) else { return nil }
        unsafe self.start = start
    }

    /// Takes over a list that no one else will free.
    init(adopting start: UnsafeMutablePointer<PQconninfoOption>?) { unsafe self.start = start }

    deinit { unsafe PQconninfoFree(self.start) }

    /// All options, set or not.
    var options: [Option] {
        guard var option = unsafe self.start else { return [] }
        var options: [Option] = []
        // libpq marks secrets, those of later versions too, as fields to be masked.
        let mask = CChar(truncatingIfNeeded: UInt8(ascii: "*"))
        while let keyword = unsafe option.pointee.keyword {
            let value = unsafe option.pointee.val.map { unsafe String(cString: $0) }
            let isSecret = unsafe option.pointee.dispchar.map { unsafe $0.pointee == mask } ?? false
            options.append(Option(name: unsafe String(cString: keyword), value: value, isSecret: isSecret))
            unsafe option += 1
        }
        return options
    }

    /// What is wrong with a value, without it.
    var complaint: String? {
        ConnectionParameter.complaint(
            self.options.compactMap { option in option.value.map { (name: option.name, value: $0) } })
    }
}
