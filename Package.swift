// swift-tools-version: 6.2
import CompilerPluginSupport
import PackageDescription

let package = Package(
    name: "cloacina",
    products: [
        .library(name: "Cloacina", targets: ["Cloacina"]),
        .library(name: "CloacinaWorkflow", targets: ["CloacinaWorkflow"]),
        .library(name: "CloacinaPostgres", targets: ["CloacinaPostgres"]),
        .library(name: "CloacinaSchema", targets: ["CloacinaSchema"]),
        .library(name: "CloacinaTenancy", targets: ["CloacinaTenancy"]),
        .library(name: "CloacinaTesting", targets: ["CloacinaTesting"]),
        .executable(name: "cloacina-admin", targets: ["cloacina-admin"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-syntax", from: "603.0.1"),
    ],
    targets: [
        .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev", "pkg-config"])]),
        .systemLibrary(
            name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev", "pkg-config"])]),
        .target(
            name: "CloacinaMacros",
            dependencies: [
                .product(name: "SwiftDiagnostics", package: "swift-syntax"),
                .product(name: "SwiftParser", package: "swift-syntax"),
                .product(name: "SwiftSyntax", package: "swift-syntax"),
                .product(name: "SwiftSyntaxBuilder", package: "swift-syntax"),
                .product(name: "SwiftSyntaxMacros", package: "swift-syntax"),
            ],
            exclude: ["Plugin"]
        ),
        .macro(
            name: "CloacinaPlugin",
            dependencies: [
                "CloacinaMacros",
                .product(name: "SwiftCompilerPlugin", package: "swift-syntax"),
                .product(name: "SwiftSyntax", package: "swift-syntax"),
                .product(name: "SwiftSyntaxMacros", package: "swift-syntax"),
            ],
            path: "Sources/CloacinaMacros/Plugin"
        ),
        .target(name: "CloacinaWorkflow", dependencies: ["CloacinaPlugin"]),
        .target(
            name: "CloacinaPostgres",
            dependencies: [
                "CLibPQ", "COpenSSL",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "OrderedCollections", package: "swift-collections"),
                .product(name: "HeapModule", package: "swift-collections"),
            ]
        ),
        .target(
            name: "CloacinaMigrations",
            path: "migrations",
            resources: [.embedInCode("control"), .embedInCode("tenant"), .embedInCode("sqlite")]
        ),
        .target(
            name: "CloacinaSchema",
            dependencies: [
                "CloacinaMigrations", "CloacinaPostgres", .product(name: "Logging", package: "swift-log"),
            ]
        ),
        .target(
            name: "CloacinaTenancy",
            dependencies: ["CloacinaPostgres", "CloacinaSchema", .product(name: "Logging", package: "swift-log")]
        ),
        .target(
            name: "Cloacina",
            dependencies: [
                "CloacinaPostgres", "CloacinaSchema", "CloacinaWorkflow",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
            ]
        ),
        .target(
            name: "CloacinaTesting",
            dependencies: [
                "Cloacina", "CloacinaPostgres", "CloacinaSchema", "CloacinaTenancy", "CloacinaWorkflow",
            ]
        ),
        .executableTarget(
            name: "cloacina-admin",
            dependencies: [
                "Cloacina", "CloacinaPostgres", "CloacinaSchema", "CloacinaTenancy", "CloacinaWorkflow",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "admin",
            exclude: ["quickstart", "test", "prerequisites"]
        ),
        .executableTarget(
            name: "timezones-example",
            dependencies: [
                "Cloacina", "CloacinaPostgres", "CloacinaTenancy", "CloacinaSchema",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            path: "Examples/TimeZones",
            exclude: ["migrations", "README.md"]
        ),
        .target(
            name: "TestSupport",
            dependencies: ["CloacinaWorkflow", .product(name: "CoreMetrics", package: "swift-metrics")],
            path: "Tests/TestSupport"
        ),
        .target(
            name: "EngineTestSupport",
            dependencies: ["Cloacina", "CloacinaWorkflow", "TestSupport"],
            path: "Tests/EngineTestSupport"
        ),
        .executableTarget(
            name: "crash-process",
            dependencies: ["Cloacina", "CloacinaPostgres"],
            path: "Tests/CrashProcess"
        ),
        .testTarget(
            name: "CloacinaMacrosTests",
            dependencies: [
                "CloacinaMacros", "CloacinaWorkflow",
                .product(name: "SwiftDiagnostics", package: "swift-syntax"),
                .product(name: "SwiftParser", package: "swift-syntax"),
                .product(name: "SwiftSyntax", package: "swift-syntax"),
                .product(name: "SwiftSyntaxMacroExpansion", package: "swift-syntax"),
                .product(name: "SwiftSyntaxMacros", package: "swift-syntax"),
                .product(name: "SwiftSyntaxMacrosGenericTestSupport", package: "swift-syntax"),
            ]
        ),
        .testTarget(name: "CloacinaWorkflowTests", dependencies: ["CloacinaWorkflow", "TestSupport"]),
        .testTarget(
            name: "CloacinaPostgresTests",
            dependencies: ["CloacinaPostgres", "TestSupport", .product(name: "Logging", package: "swift-log")]
        ),
        .testTarget(
            name: "CloacinaSchemaTests", dependencies: ["CloacinaSchema", "CloacinaMigrations", "TestSupport"]),
        .testTarget(
            name: "CloacinaTenancyTests", dependencies: ["CloacinaTenancy", "CloacinaPostgres", "CloacinaSchema"]),
        .testTarget(
            name: "CloacinaTests",
            dependencies: [
                "Cloacina", "CloacinaPostgres", "CloacinaSchema", "CloacinaTesting", "EngineTestSupport", "TestSupport",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
            ]
        ),
        .testTarget(name: "CloacinaTestingTests", dependencies: ["CloacinaTesting", "Cloacina", "TestSupport"]),
        .testTarget(
            name: "AdminTests",
            dependencies: [
                "Cloacina", "cloacina-admin", "CloacinaTenancy", "CloacinaSchema", "CloacinaPostgres",
                "CloacinaWorkflow", "TestSupport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]
        ),
        .testTarget(name: "ExampleTests", dependencies: ["timezones-example"]),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "Cloacina", "CloacinaPostgres", "CloacinaSchema", "CloacinaTenancy", "CloacinaTesting",
                "cloacina-admin", "crash-process", "EngineTestSupport", "TestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)

/// Our CI sets this; whoever builds the package as a dependency sees warnings as warnings.
let isContinuousIntegration = Context.environment["CLOACINA_WARNINGS_AS_ERRORS"] == "1"

// The benchmarks are a package of their own; our CI compiles them with the rest, so that they keep up.
if isContinuousIntegration {
    package.targets += [
        .systemLibrary(
            name: "CLibPQBaseline", path: "Benchmarks/Sources/CLibPQBaseline", pkgConfig: "libpq",
            providers: [.apt(["libpq-dev", "pkg-config"])]),
        .executableTarget(
            name: "cloacina-bench",
            dependencies: [
                "CLibPQBaseline", "Cloacina", "CloacinaPostgres", "CloacinaSchema", "CloacinaTenancy",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            path: "Benchmarks/Sources/cloacina-bench"
        ),
    ]
}

for target in package.targets where target.type != .system {
    var settings: [SwiftSetting] = [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .strictMemorySafety(),
    ]
    if isContinuousIntegration {
        settings.append(.treatAllWarnings(as: .error))
    }
    target.swiftSettings = (target.swiftSettings ?? []) + settings
}
