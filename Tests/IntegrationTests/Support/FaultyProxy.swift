import Glibc
import Synchronization
import Testing

@testable import CloacinaPostgres

/// Stands between a client and the server, and misbehaves when told to. One thread carries everything.
final class FaultyProxy: @unchecked Sendable {
    enum Mode: Int {
        /// Carries both ways.
        case pass
        /// Carries nothing, but takes new connections.
        case stalled
        /// Closes everything, and each new connection at once.
        case cut
        /// Replaces what the server says.
        case garbage
        /// Carries both ways, and tells each client another process id than its backend's, as poolers do.
        case pooled
        case ended
    }

    let port: UInt16
    private let serverPort: UInt16
    private let listener: Int32
    private let wakeUp: WakeUp
    private let current = Atomic<Int>(Mode.pass.rawValue)
    private let next = Atomic<Int>(Mode.pass.rawValue)
    private let bytesLeft = Atomic<Int>(.max)
    private let acceptedCount = Atomic<Int>(0)
    /// Only the proxy's thread touches it.
    private var pairs: [(client: Int32, server: Int32)] = []

    init(serverPort: UInt16) throws {
        self.serverPort = serverPort
        self.wakeUp = try #require(WakeUp())
        (self.listener, self.port) = try LocalSocket.listen()
        try #require(DetachedThread.start { self.run() })
    }

    var accepted: Int { self.acceptedCount.load(ordering: .sequentiallyConsistent) }

    var mode: Mode {
        get { Mode(rawValue: self.current.load(ordering: .sequentiallyConsistent)) ?? .ended }
        set {
            self.current.store(newValue.rawValue, ordering: .sequentiallyConsistent)
            self.wakeUp.signal()
        }
    }

    /// Changes when the server has said so much.
    func switchMode(to mode: Mode, afterBytes bytes: Int) {
        self.next.store(mode.rawValue, ordering: .sequentiallyConsistent)
        self.bytesLeft.store(bytes, ordering: .sequentiallyConsistent)
    }

    func end() { self.mode = .ended }

    /// Lends a proxy in front of the test's database, and what connects through it as the administrator or the superuser.
    static func with<R>(
        superuser: Bool = false, _ body: (FaultyProxy, PostgresConfiguration) async throws -> R
    ) async throws -> R {
        let database = try #require(TestDatabase.current)
        let server = try await PostgresConnection.withConnection(database.administrator) { $0.endpoint }
        let proxy = try FaultyProxy(serverPort: UInt16(server.port))
        defer { proxy.end() }
        let access = try #require(TestServer.configured)
        var configuration = PostgresConfiguration(superuser ? access.superuserURL : access.administratorURL)
        configuration.connectionString +=
            "?hostaddr=127.0.0.1&port=\(proxy.port)&sslmode=disable&gssencmode=disable"
        configuration.database = database.name
        return try await body(proxy, configuration)
    }

    private func run() {
        while self.mode != .ended {
            if self.mode == .cut { self.closePairs() }
            var descriptors = [self.wakeUp.descriptor, self.listener].map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            if self.mode != .stalled {
                for pair in self.pairs {
                    descriptors.append(pollfd(fd: pair.client, events: Int16(POLLIN), revents: 0))
                    descriptors.append(pollfd(fd: pair.server, events: Int16(POLLIN), revents: 0))
                }
            }
            guard unsafe poll(&descriptors, nfds_t(descriptors.count), -1) > 0 else { continue }
            if descriptors[0].revents != 0 {
                self.wakeUp.clear()
                continue
            }
            if descriptors[1].revents != 0 { self.accept() }
            for index in stride(from: 2, to: descriptors.count, by: 2) {
                let (client, server) = (descriptors[index], descriptors[index + 1])
                if client.revents != 0 { self.carry(client.fd, server.fd, isFromServer: false) }
                if server.revents != 0 { self.carry(server.fd, client.fd, isFromServer: true) }
            }
        }
        self.closePairs()
        close(self.listener)
    }

    private func closePairs() {
        for pair in self.pairs {
            close(pair.client)
            close(pair.server)
        }
        self.pairs = []
    }

    private func accept() {
        guard let client = LocalSocket.accept(self.listener) else { return }
        self.acceptedCount.add(1, ordering: .sequentiallyConsistent)
        let connected = self.mode == .cut ? nil : LocalSocket.connect(to: self.serverPort)
        if let server = connected {
            self.pairs.append((client, server))
        } else {
            close(client)
        }
    }

    /// Changes the process id in the message BackendKeyData, which comes with the end of the login.
    private static func inventProcessID(_ bytes: inout ArraySlice<UInt8>) {
        let head: [UInt8] = [UInt8(ascii: "K"), 0, 0, 0]
        guard
            let start = bytes.indices.first(where: { index in bytes[index...].starts(with: head) }),
            let last = bytes.index(start, offsetBy: 8, limitedBy: bytes.endIndex - 1)
        else { return }
        bytes[last] ^= 0xff
    }

    private func carry(_ from: Int32, _ to: Int32, isFromServer: Bool) {
        guard self.pairs.contains(where: { $0.client == from || $0.server == from }) else { return }
        var bytes = LocalSocket.receive(from)
        guard !bytes.isEmpty else {
            self.pairs.removeAll { pair in
                guard pair.client == from || pair.server == from else { return false }
                close(pair.client)
                close(pair.server)
                return true
            }
            return
        }
        if isFromServer {
            let left = self.bytesLeft.subtract(bytes.count, ordering: .sequentiallyConsistent).newValue
            if left <= 0 {
                self.bytesLeft.store(.max, ordering: .sequentiallyConsistent)
                self.current.store(self.next.load(ordering: .sequentiallyConsistent), ordering: .sequentiallyConsistent)
            }
            if self.mode == .pooled { Self.inventProcessID(&bytes) }
            if self.mode == .garbage { bytes = ArraySlice(repeating: 0xa5, count: bytes.count) }
        }
        LocalSocket.send(bytes, to: to)
    }
}
