import CloacinaPostgres
import FoundationEssentials
import Synchronization
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// Settings of a development server are kept (C38).
    @Suite(.timeLimit(.minutes(40))) struct DevelopmentSettingsTests {
        private static func setting(_ name: String, of state: ServerState) async throws -> String {
            try await PostgresConnection.withConnection(PostgresConfiguration(state.superuserUrl)) { connection in
                try await connection.query("SELECT current_setting(\(name))").single(as: String.self)
            }
        }

        @Test("C38: a setting counts at every later start, whether it came first or while the server ran")
        func aSettingCountsAtEveryLaterStart() async throws {
            let directory = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("settings")
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: directory)
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let binaries = try #require(TestServer.configured).binaries
            let told = Mutex("")
            func server(_ settings: [ServerSetting], forget: Bool = false) throws -> DevelopmentServer {
                try DevelopmentServer(
                    directory: directory + "/server", binaries: binaries.isEmpty ? nil : binaries, settings: settings,
                    forgetsSettings: forget, report: { text in told.withLock { $0 += text } })
            }
            let home = try server([]).directory
            defer { try? FileManager.default.removeItem(atPath: home) }
            do {
                let first = try await server([ServerSetting("max_connections", "30")]).start()
                #expect(try await Self.setting("max_connections", of: first) == "30")
                let running = try await server([ServerSetting("work_mem", "7MB")]).start()
                #expect(running.pid == first.pid)
                #expect(running.settings == ["max_connections=30", "work_mem=7MB"])
                #expect(told.withLock { $0 }.contains("kept for every later start"))
                #expect(try await Self.setting("work_mem", of: running) == "4MB")
                try await server([]).stop()
                let again = try await server([]).start()
                #expect(try await Self.setting("max_connections", of: again) == "30")
                #expect(try await Self.setting("work_mem", of: again) == "7MB")
                try await server([]).stop()
                let other = try await server([ServerSetting("work_mem", "9MB")], forget: true).start()
                #expect(try await Self.setting("work_mem", of: other) == "9MB")
                #expect(try await Self.setting("max_connections", of: other) == "200")
                try await server([]).stop()
            } catch {
                _ = try? await server([]).stop()
                throw error
            }
        }
    }
}
