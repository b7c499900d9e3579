import Glibc
import Testing

@testable import CloacinaPostgres

@Suite struct ConnectionThreadTests {
    @Test func aCloseThatCameBeforeAStaleCancelIsClearedStillWakesTheConnection() throws {
        let wakeUp = try #require(WakeUp())
        let interrupt = ConnectionInterrupt(wakeUp)
        interrupt.request(.cancel)
        interrupt.request(.close)
        interrupt.clearCancel()
        #expect(interrupt.pending == .close)
        var descriptor = pollfd(fd: wakeUp.descriptor, events: Int16(POLLIN), revents: 0)
        #expect(unsafe poll(&descriptor, 1, 0) == 1)
    }

    @Test func aProcessWithoutDescriptorsGetsAnErrorAndLives() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 0, rlim_max: 0)
            unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            limit.rlim_cur = 3
            unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            do {
                _ = try await PostgresConnection.connect(PostgresConfiguration("host=/nonexistent"))
                exit(2)
            } catch {
                exit((error as? PostgresError)?.code == .connectionFailed ? 0 : 3)
            }
        }
    }

    @Test(arguments: ["user", "password", "database"]) func aNULInAParameterIsRefused(parameter: String) async {
        var configuration = PostgresConfiguration("host=/nonexistent")
        switch parameter {
        case "user": configuration.user = "a\0b"
        case "password": configuration.password = "a\0b"
        default: configuration.database = "a\0b"
        }
        let refused = configuration
        let error = await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(refused) }
        #expect(error?.code == .invalidConnectionString)
    }

    @Test func aDatabasesNameIsNotTakenForAConnectionString() async {
        var configuration = PostgresConfiguration("")
        configuration.database = "host=192.0.2.1 port=notaport"
        let odd = configuration
        let error = await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(odd) }
        #expect(error?.serverMessage?.contains("notaport") != true)
    }
}
