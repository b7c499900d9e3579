/// Reads a connection string as libpq does, to say what is wrong with it without repeating it.
///
/// libpq's own complaints quote what it could not use. Where a password was not encoded, that is a part of the password.
struct ConnectionStringReader {
    private let known: Set<String>

    /// A reader for a libpq that has these parameters.
    init(known: Set<String>) {
        self.known = known
    }

    /// What is wrong with a connection string and what to do; nothing where libpq may read it.
    ///
    /// Of the string itself it holds at most a parameter's name, and that only where it can't be a piece of a password.
    func complaint(about text: String) -> String? {
        let bytes = Array(text.utf8)
        for scheme in ["postgresql://", "postgres://"] where bytes.starts(with: scheme.utf8) {
            return self.complaint(aboutURL: bytes.dropFirst(scheme.utf8.count))
        }
        return self.complaint(aboutPairs: bytes[...])
    }

    // MARK: URLs

    private func complaint(aboutURL rest: ArraySlice<UInt8>) -> String? {
        let at = UInt8(ascii: "@")
        var target = rest
        // A login is what stands before the first @, unless a slash comes first.
        if let end = rest.firstIndex(where: { $0 == at || $0 == UInt8(ascii: "/") }), rest[end] == at {
            target = rest[end...].dropFirst()
        }
        // A further @ behind a colon means that libpq would take the rest of a password for a host, a port or a database.
        if let stray = target.lastIndex(of: at), rest[..<stray].contains(UInt8(ascii: ":")) {
            return "a URL has one @, behind the user and password, which hold no /; percent-encode those characters "
                + "everywhere else: @ as %40, / as %2F"
        }
        guard let mark = target.firstIndex(of: UInt8(ascii: "?")) else { return nil }
        var names: [String] = []
        for part in target[mark...].dropFirst().split(separator: UInt8(ascii: "&")) {
            // Without a value it is none of libpq's; that may be the end of a password, so it is not named.
            guard let equals = part.firstIndex(of: UInt8(ascii: "=")) else { return nil }
            let name = Self.percentDecoded(part[..<equals])
            // libpq takes this one word from JDBC.
            if name == "ssl", part[equals...].dropFirst().elementsEqual("true".utf8) { continue }
            if let complaint = self.complaint(aboutName: name, after: names) { return complaint }
            names.append(name)
        }
        return nil
    }

    private static func percentDecoded(_ bytes: ArraySlice<UInt8>) -> String {
        var decoded: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                decoded.append(value)
                rest = rest.dropFirst(2)
            } else {
                decoded.append(byte)
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    // MARK: Keywords and values

    private func complaint(aboutPairs bytes: ArraySlice<UInt8>) -> String? {
        var rest = bytes.drop(while: Self.isSpace)
        var names: [String] = []
        while !rest.isEmpty {
            let word = rest.prefix { $0 != UInt8(ascii: "=") && !Self.isSpace($0) }
            rest = rest[word.endIndex...].drop(while: Self.isSpace)
            // What libpq can't read either it says itself, without being heard.
            guard rest.popFirst() == UInt8(ascii: "=") else { return nil }
            rest = rest.drop(while: Self.isSpace)
            guard Self.dropValue(&rest) else { return nil }
            let name = String(decoding: word, as: UTF8.self)
            if let complaint = self.complaint(aboutName: name, after: names) { return complaint }
            if names.contains(name), names.contains(where: Self.isSecret) {
                return "\(name) is given twice; a value with blanks is written between single quotes"
            }
            names.append(name)
            rest = rest.drop(while: Self.isSpace)
        }
        return nil
    }

    /// Drops one value, quoted or not; false when its quotation has no end.
    private static func dropValue(_ rest: inout ArraySlice<UInt8>) -> Bool {
        let isQuoted = rest.first == UInt8(ascii: "'")
        if isQuoted { rest.removeFirst() }
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\") {
                _ = rest.popFirst()
            } else if isQuoted ? byte == UInt8(ascii: "'") : self.isSpace(byte) {
                return true
            }
        }
        return !isQuoted
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }

    // MARK: Names

    private func complaint(aboutName name: String, after earlier: [String]) -> String? {
        guard !self.known.contains(name) else { return nil }
        if let advice = ForeignParameter.advice(name) { return advice }
        // Behind a password it may be a piece of it that was not quoted or encoded.
        guard Self.isPlain(name), !earlier.contains(where: Self.isSecret) else {
            return
                "it holds a parameter that libpq does not know, not named here because it may be a piece of a password; "
                + "percent-encode special characters in a URL, and put single quotes round a value with blanks"
        }
        return "unknown parameter \(name); libpq has none of that name, so leave it out"
    }

    private static func isSecret(_ name: String) -> Bool { ["password", "sslpassword"].contains(name) }

    /// Whether it looks as parameters' names do, rather than like a piece of a URL.
    private static func isPlain(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 40
            && name.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "_")
            }
    }
}
