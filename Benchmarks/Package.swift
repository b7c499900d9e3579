// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "cloacina-benchmarks",
    dependencies: [
        .package(name: "cloacina", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    ],
    targets: [
        .systemLibrary(name: "CLibPQBaseline", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .executableTarget(
            name: "cloacina-bench",
            dependencies: [
                "CLibPQBaseline",
                .product(name: "Cloacina", package: "cloacina"),
                .product(name: "CloacinaPostgres", package: "cloacina"),
                .product(name: "CloacinaSchema", package: "cloacina"),
                .product(name: "CloacinaTenancy", package: "cloacina"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "GRDB", package: "GRDB.swift"),
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)

for target in package.targets where target.type != .system {
    var settings: [SwiftSetting] = [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .strictMemorySafety(),
    ]
    if Context.environment["CLOACINA_WARNINGS_AS_ERRORS"] == "1" {
        settings.append(.treatAllWarnings(as: .error))
    }
    target.swiftSettings = (target.swiftSettings ?? []) + settings
}
