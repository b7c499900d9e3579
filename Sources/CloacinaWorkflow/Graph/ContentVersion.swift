/// Which version of a workflow this is: a SHA-256 over everything that changes what it does.
///
/// It is the same for the same content in every process, on every platform and with every toolchain. A run is pinned to the
/// version that it started with.
public struct ContentVersion: Sendable, Hashable {
    /// 64 lower-case hexadecimal digits.
    public let hex: String

    /// The first 12 digits: enough for people to tell versions apart, not for programs.
    public var short: String { String(self.hex.prefix(12)) }

    /// Reads the digits; nil when there aren't 64 of them, lower-case.
    public init?(hex: String) {
        let isDigits = hex.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): true
            default: false
            }
        }
        guard hex.utf8.count == 64, isDigits else { return nil }
        self.hex = hex
    }

    fileprivate init(digest: [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        let text = digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }  // can't trap: halves of a byte
        self.hex = String(decoding: text, as: UTF8.self)
    }
}

extension ContentVersion: CustomStringConvertible, LosslessStringConvertible {
    /// All digits.
    public var description: String { self.hex }

    /// Reads the digits; nil when there aren't 64 of them, lower-case.
    public init?(_ description: String) { self.init(hex: description) }
}

extension ContentVersion: Codable {
    /// Reads the digits from any decoder.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let version = Self(hex: try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "A content version is 64 lower-case hexadecimal digits.")
        }
        self = version
    }

    /// Writes the digits to any encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.hex)
    }
}

extension ContentVersion {
    /// Takes in labelled fields, in an order that the caller keeps, and hashes them.
    ///
    /// The bytes that are hashed: the format's name, and for each field its label, one byte for its kind (`b`ytes, `l`ist or
    /// `-` for absent) and its value. Each label, value and element of a list is preceded by its length, and each list by its
    /// count, in 8 bytes with the highest first. So no two different sequences of fields give the same bytes.
    package struct Builder: Sendable {
        private var hash = SHA256()

        /// Begins with what is hashed and in which layout, such as `cloacina.workflow/1`.
        package init(format: String) { self.append(format.utf8) }

        /// Takes in a field of bytes.
        package mutating func add(_ label: String, bytes: some Collection<UInt8>) {
            self.begin(label, kind: "b")
            self.append(bytes)
        }

        /// Takes in a field of text, as the UTF-8 that it has; nil differs from an empty text.
        package mutating func add(_ label: String, _ text: String?) {
            guard let text else { return self.begin(label, kind: "-") }
            self.add(label, bytes: text.utf8)
        }

        /// Takes in a field of texts, whose order counts.
        package mutating func add(_ label: String, _ texts: [String]) {
            self.begin(label, kind: "l")
            self.append(count: texts.count)
            for text in texts { self.append(text.utf8) }
        }

        /// The version of all that was taken in.
        package consuming func finish() -> ContentVersion { ContentVersion(digest: self.hash.finish()) }

        private mutating func begin(_ label: String, kind: Unicode.Scalar) {
            self.append(label.utf8)
            self.hash.update(CollectionOfOne(UInt8(ascii: kind)))
        }

        private mutating func append(_ bytes: some Collection<UInt8>) {
            self.append(count: bytes.count)
            self.hash.update(bytes)
        }

        private mutating func append(count: Int) {
            self.hash.update(UInt64(count).bigEndianBytes)  // can't trap: the count of a collection
        }
    }
}
