import FoundationEssentials
import Testing

@testable import CloacinaTenancy

/// What a tenant's logins may use (point 7 of issue 11).
@Suite struct TenantLimitsTests {
    @Test func aTenantIsLimitedUnlessSomethingElseIsSaid() throws {
        let limits = TenantConfig(name: "acme").limits
        #expect(limits == TenantLimits())
        #expect(limits.connections == 40)
        #expect(limits.temporaryFileBytes == 1 << 30)
        #expect(
            [limits.statementTimeout, limits.lockTimeout, limits.idleInTransactionTimeout].allSatisfy { $0 != nil })
    }

    @Test func eachLoginGetsItsLimits() throws {
        #expect(
            LimitQueries.statements(login: "acme_a", try StoredLimits(TenantLimits()), serverVersion: 180_000) == [
                #"ALTER ROLE "acme_a" CONNECTION LIMIT 40"#,
                #"ALTER ROLE "acme_a" SET statement_timeout TO '300000ms'"#,
                #"ALTER ROLE "acme_a" SET lock_timeout TO '30000ms'"#,
                #"ALTER ROLE "acme_a" SET idle_in_transaction_session_timeout TO '300000ms'"#,
                "DO $limits$ BEGIN IF pg_catalog.has_parameter_privilege('temp_file_limit', 'SET') THEN "
                    + #"ALTER ROLE "acme_a" SET temp_file_limit TO '1048576kB'; END IF; END $limits$"#,
            ])
    }

    @Test func noLimitLeavesItToTheServer() throws {
        let statements = LimitQueries.statements(login: "a", try StoredLimits(.none), serverVersion: 140_000)
        #expect(
            statements.prefix(2) == [
                #"ALTER ROLE "a" CONNECTION LIMIT -1"#, #"ALTER ROLE "a" RESET statement_timeout"#,
            ])
        #expect(statements.last?.contains("is_superuser") == true)
        #expect(statements.last?.contains(#"ALTER ROLE "a" RESET temp_file_limit"#) == true)
    }

    @Test(arguments: [
        (Duration.milliseconds(1), Int32(1)), (.microseconds(1), 1), (.microseconds(1_001), 2), (.seconds(30), 30_000),
        (.seconds(2_147_482), 2_147_482_000),
    ])
    func aTimeoutIsWholeMillisecondsAndNeverZero(timeout: Duration, milliseconds: Int32) throws {
        var limits = TenantLimits()
        limits.lockTimeout = timeout
        #expect(try StoredLimits(limits).lockMilliseconds == milliseconds)
    }

    @Test(arguments: [Duration.zero, .seconds(-1), .seconds(2_147_484), .seconds(Int64.max)])
    func aTimeoutThatTheServerCouldNotTakeIsRefused(timeout: Duration) {
        for path in [\TenantLimits.statementTimeout, \.lockTimeout, \.idleInTransactionTimeout] {
            var limits = TenantLimits()
            limits[keyPath: path] = timeout
            #expect(throws: AdminError.self) { try StoredLimits(limits) }
        }
    }

    @Test(arguments: [0, -1, Int.max, Int.min])
    func aNumberThatTheServerCouldNotTakeIsRefused(number: Int) {
        var connections = TenantLimits()
        connections.connections = number
        #expect(throws: AdminError.self) { try StoredLimits(connections) }
        var files = TenantLimits()
        files.temporaryFileBytes = number
        #expect(throws: AdminError.self) { try StoredLimits(files) }
    }

    @Test(arguments: [(1, Int32(1)), (1024, 1), (1025, 2), (1 << 30, 1 << 20)])
    func temporaryFilesAreLimitedInWholeKilobytes(bytes: Int, kilobytes: Int32) throws {
        var limits = TenantLimits()
        limits.temporaryFileBytes = bytes
        let stored = try StoredLimits(limits)
        #expect(stored.temporaryFileKilobytes == kilobytes)
        #expect(stored.limits.temporaryFileBytes == Int(clamping: kilobytes) * 1024)
    }

    @Test func theRegistryGivesBackWhatItWasGiven() throws {
        #expect(try StoredLimits(TenantLimits()).limits == TenantLimits())
        #expect(try StoredLimits(TenantLimits.none).limits == TenantLimits.none)
    }

    @Test func whatALoginDoesNotHaveIsNamed() throws {
        let stored = try StoredLimits(TenantLimits())
        let held = ["search_path=a", "statement_timeout=300000ms", "lock_timeout=0", "temp_file_limit=1048576kB"]
        #expect(
            stored.differing(fromConnections: -1, settings: held)
                == ["connection_limit", "lock_timeout", "idle_in_transaction_session_timeout"])
        #expect(try StoredLimits(.none).differing(fromConnections: 7, settings: held).isEmpty)
    }

    @Test func limitsAreEncodedWithTheirUnits() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        var limits = TenantLimits()
        limits.connections = nil
        #expect(
            String(decoding: try encoder.encode(limits), as: UTF8.self) == """
                {"idleInTransactionTimeoutMilliseconds":300000,"lockTimeoutMilliseconds":30000,\
                "statementTimeoutMilliseconds":300000,"temporaryFileBytes":1073741824}
                """)
    }

    @Test func hardeningTakesTheFunctionsFromEverybodyButTheAdministrator() {
        let functions = ["pg_catalog.lo_create(oid)", "pg_catalog.pg_advisory_lock(bigint)"]
        #expect(
            Hardening(openFunctions: functions, administrator: "adm", limitsTemporaryFiles: false).statements == [
                #"GRANT SET ON PARAMETER temp_file_limit TO "adm""#,
                "GRANT EXECUTE ON FUNCTION pg_catalog.lo_create(oid), pg_catalog.pg_advisory_lock(bigint) TO \"adm\"",
                "REVOKE EXECUTE ON FUNCTION pg_catalog.lo_create(oid), pg_catalog.pg_advisory_lock(bigint) FROM PUBLIC",
            ])
        #expect(Hardening(openFunctions: [], administrator: "adm").statements.isEmpty)
    }
}
