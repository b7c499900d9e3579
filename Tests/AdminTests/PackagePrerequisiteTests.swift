import FoundationEssentials
import Testing

/// SwiftPM finds libpq and OpenSSL by pkg-config, which the packages with their headers do not bring (C40).
@Suite struct PackagePrerequisiteTests {
    private func text(_ path: String) throws -> String {
        let root = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        return String(decoding: try Data(contentsOf: root.appending(path: path)), as: UTF8.self)
    }

    @Test("C40: pkg-config is named", arguments: ["README.md", "Package.swift", "admin/prerequisites"])
    func pkgConfigIsNamed(path: String) throws {
        #expect(try self.text(path).contains("pkg-config"))
    }

    @Test("C40: every system library names it as a provider")
    func everySystemLibraryNamesIt() throws {
        let manifest = try self.text("Package.swift")
        let providers = manifest.split(separator: "\n").filter { $0.contains(".apt([") }
        #expect(providers.count == manifest.split(separator: "\n").count { $0.contains(".systemLibrary(") })
        #expect(providers.allSatisfy { $0.contains("\"pkg-config\"") })
    }
}
