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
        self.listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = Self.address(port: 0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = self.listener
        let bound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(listener, $0, size) == 0 && listen(listener, 64) == 0
                    && getsockname(listener, $0, &size) == 0
            }
        }
        try #require(bound)
        self.port = UInt16(bigEndian: address.sin_port)
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

    private static func address(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
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
        let client = Glibc.accept(self.listener, nil, nil)
        guard client >= 0 else { return }
        self.acceptedCount.add(1, ordering: .sequentiallyConsistent)
        let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = Self.address(port: self.serverPort)
        let isConnected = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        if self.mode == .cut || !isConnected {
            close(client)
            close(server)
        } else {
            self.pairs.append((client, server))
        }
    }

    private func carry(_ from: Int32, _ to: Int32, isFromServer: Bool) {
        guard self.pairs.contains(where: { $0.client == from || $0.server == from }) else { return }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe recv(from, &buffer, buffer.count, 0)
        guard count > 0 else {
            self.pairs.removeAll { pair in
                guard pair.client == from || pair.server == from else { return false }
                close(pair.client)
                close(pair.server)
                return true
            }
            return
        }
        if isFromServer {
            let left = self.bytesLeft.subtract(count, ordering: .sequentiallyConsistent).newValue
            if left <= 0 {
                self.bytesLeft.store(.max, ordering: .sequentiallyConsistent)
                self.current.store(self.next.load(ordering: .sequentiallyConsistent), ordering: .sequentiallyConsistent)
            }
            if self.mode == .garbage { buffer = [UInt8](repeating: 0xa5, count: buffer.count) }
        }
        var sent = 0
        while sent < count {
            let written = unsafe buffer.withUnsafeBytes { bytes in
                unsafe send(to, bytes.baseAddress?.advanced(by: sent), count - sent, Int32(MSG_NOSIGNAL))
            }
            guard written > 0 else { return }
            sent += written
        }
    }
}
