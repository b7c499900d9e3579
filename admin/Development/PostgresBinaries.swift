import FoundationEssentials
import Glibc

/// One installation of PostgreSQL's server programs.
struct PostgresBinaries: Sendable, Equatable {
    let directory: String

    var initdb: String { self.directory + "/initdb" }
    var postgres: String { self.directory + "/postgres" }

    /// Chooses the installation: the one that was asked for, else the newest under `/usr/lib/postgresql`, else the
    /// `PATH`. A directory that already holds data of one major version prefers binaries of that version.
    static func find(
        asked: String?, preferring majorVersion: Int?, root: String = "/usr/lib/postgresql", path: String
    ) throws -> PostgresBinaries {
        if let asked {
            let binaries = PostgresBinaries(directory: asked)
            guard binaries.isComplete else {
                throw CommandError(.usage, "--postgres-bin: \(asked) holds no initdb and postgres that can be run")
            }
            return binaries
        }
        let installed = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? [])
            .compactMap(Int.init).sorted(by: >)
        let versions = installed.filter { $0 == majorVersion } + installed
        let candidates =
            versions.map { PostgresBinaries(directory: "\(root)/\($0)/bin") }
            + path.split(separator: ":").map { PostgresBinaries(directory: String($0)) }
        guard let found = candidates.first(where: \.isComplete) else {
            throw CommandError(
                .failed, "no PostgreSQL server is installed",
                hint: "install one (Debian, Ubuntu: apt-get install postgresql), or name its programs by --postgres-bin"
            )
        }
        return found
    }

    private var isComplete: Bool {
        [self.initdb, self.postgres].allSatisfy { (program: String) in unsafe access(program, X_OK) == 0 }
    }

    /// Reads `postgres --version`: `postgres (PostgreSQL) 15.18 (Debian …)` is `15.18`.
    static func version(in output: String) -> String? {
        let words = output.split(whereSeparator: \.isWhitespace)
        return words.first { $0.first?.isNumber == true }.map(String.init)
    }

    static func majorVersion(of version: String) -> Int? {
        Int(version.prefix { $0.isNumber }, radix: 10)
    }
}
