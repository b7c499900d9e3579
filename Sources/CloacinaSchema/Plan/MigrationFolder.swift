#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// An embedder's directory of migrations as it was found: the set that its files form, and what looks like one and isn't.
public struct MigrationFolder: Sendable, Hashable {
    /// A file that isn't part of the set although its name holds `.sql`, or a directory without any.
    public struct PassedOver: Sendable, Hashable, CustomStringConvertible {
        /// Its path below the directory, or the directory's own.
        public let name: String
        /// The reason it isn't taken.
        public let reason: String

        /// As `name: reason`.
        public var description: String { "\(self.name): \(self.reason)" }
    }

    /// The migrations.
    public let set: MigrationSet
    /// The files that were not taken, by name.
    public let passedOver: [PassedOver]

    /// The number of folders that a forgotten file is looked for in, one below the other.
    private static let deepestFolder = 4

    /// Reads every `NNNN_title.<lane>.sql` of a directory, not of its folders; versions may have gaps.
    ///
    /// - Parameters:
    ///   - directory: The directory's path.
    ///   - source: A name for the history, `[a-z][a-z0-9_-]*` of at most 48 bytes, other than `cloacina`.
    ///   - lane: Which files count.
    /// - Throws: ``MigrationError`` with everything that is wrong with any file in ``MigrationError/complaints``.
    public init(directory: String, source: String, lane: MigrationLane = .tenant) throws(MigrationError) {
        guard source != MigrationSet.embeddedSource else {
            throw MigrationError(.invalidSet, source: source, reason: "the source `\(source)` is this library's own")
        }
        var migrations: [Migration] = []
        var complaints: [MigrationComplaint] = []
        var passedOver: [PassedOver] = []
        for name in try Self.names(in: directory) {
            if let reason = Self.reason(toPassOver: name, lane: lane) {
                passedOver.append(PassedOver(name: name, reason: reason))
                continue
            }
            guard name.hasSuffix(".sql"), !name.hasPrefix(".") else {
                passedOver += Self.filesBelow(name, in: directory)
                continue
            }
            guard let contents = FileManager.default.contents(atPath: directory + "/" + name) else {
                throw MigrationError(.unreadableDirectory, file: directory + "/" + name)
            }
            do throws(MigrationError) {
                migrations.append(try Migration(fileName: name, contents: Array(contents)))
            } catch {
                complaints += error.complaints
            }
        }
        let repetitions = MigrationSet.repetitions(of: migrations)
        guard complaints.isEmpty, repetitions.isEmpty else {
            throw MigrationError(
                complaints.isEmpty ? .invalidSet : .invalidFile, source: source, complaints: complaints + repetitions)
        }
        if migrations.isEmpty {
            passedOver.append(
                PassedOver(
                    name: directory, reason: "no migration in it: they are called NNNN_title.\(lane.rawValue).sql"))
        }
        self.set = try MigrationSet(source: source, lane: lane, migrations: migrations)
        self.passedOver = passedOver
    }

    private static func names(in directory: String) throws(MigrationError) -> [String] {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
        } catch {
            throw MigrationError(.unreadableDirectory, file: directory, underlying: error)
        }
    }

    /// The reason a name that looks like a migration's isn't one; a `.sql` file of no lane is an error, not passed over.
    private static func reason(toPassOver name: String, lane: MigrationLane) -> String? {
        guard !name.hasPrefix("."), name.lowercased().contains(".sql") else { return nil }
        let expected = "a migration of this lane is called NNNN_title.\(lane.rawValue).sql"
        guard name.hasSuffix(".sql") else {
            return name.lowercased().hasSuffix(".sql") ? "the suffix .sql is written in lower case" : expected
        }
        let other = MigrationLane.allCases.first { $0 != lane && name.hasSuffix(".\($0.rawValue).sql") }
        return other.map { "it is of the lane \($0.rawValue), not \(lane.rawValue)" }
    }

    /// The files of a folder that would be taken for migrations if folders were looked into.
    private static func filesBelow(_ name: String, in directory: String, depth: Int = 1) -> [PassedOver] {
        guard !name.hasPrefix("."), depth <= Self.deepestFolder,
            let names = try? FileManager.default.contentsOfDirectory(atPath: directory + "/" + name)
        else { return [] }
        return names.sorted().flatMap { below in
            below.lowercased().contains(".sql")
                ? [
                    PassedOver(
                        name: name + "/" + below,
                        reason: "folders in the directory aren't looked into: give the file's own, or move it up")
                ]
                : Self.filesBelow(name + "/" + below, in: directory, depth: depth + 1)
        }
    }
}
