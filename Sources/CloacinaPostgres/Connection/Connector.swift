import CLibPQ
import Glibc

/// Opens connections on the thread that they will keep.
actor Connector {
    private let thread: ConnectionThread
    private let interrupt: ConnectionInterrupt

    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe self.thread.asUnownedSerialExecutor() }

    init(thread: ConnectionThread, interrupt: ConnectionInterrupt) {
        self.thread = thread
        self.interrupt = interrupt
    }

    func open(_ configuration: PostgresConfiguration) throws(PostgresError) -> sending OpenedConnection {
        try Self.check(configuration.connectionString)
        let hasService = unsafe getenv("PGSERVICE") != nil || Self.namesService(configuration.connectionString)
        let parameters = Self.parameters(configuration, hasService: hasService)
        guard !parameters.contains(where: { $0.1.utf8.contains(0) }) else {
            throw PostgresError(.invalidConnectionString, advice: "a parameter holds a NUL character")
        }
        // Without a connection string, a database's name must not be taken for one.
        let handle = ConnectionHandle(starting: parameters, expandsFirst: !configuration.connectionString.isEmpty)
        guard handle.isOpen else { throw PostgresError(.connectionFailed, advice: "out of memory") }
        guard !handle.isBad else {
            // The environment or a service file may hold what libpq does not take; it would quote it.
            if let complaint = handle.options.complaint {
                throw PostgresError(.invalidConnectionString, advice: complaint)
            }
            throw Self.failure(handle)
        }
        let deadline = ContinuousClock.Instant.fromNow(configuration.connectTimeout)
        try Self.finishConnecting(handle, deadline, self.thread.wakeUp, self.interrupt)
        guard handle.setNonblocking() else { throw Self.failure(handle) }
        let facts = try Self.askSession(handle, deadline, self.thread.wakeUp, self.interrupt)
        guard handle.enterPipelineMode() else { throw Self.failure(handle) }
        return OpenedConnection(handle: handle, facts: facts)
    }

    /// Asks a new session for its facts.
    private static func askSession(
        _ handle: ConnectionHandle, _ deadline: ContinuousClock.Instant, _ wakeUp: WakeUp,
        _ interrupt: ConnectionInterrupt
    ) throws(PostgresError) -> SessionFacts {
        guard handle.sendQuery(SessionFacts.query) else { throw Self.failure(handle) }
        var facts: SessionFacts?
        var unsent = handle.flush()
        while true {
            guard unsent >= 0 else { throw Self.failure(handle) }
            if unsent == 0, !handle.isBusy {
                guard let result = handle.nextResult() else { break }
                guard result.status == PGRES_TUPLES_OK else { throw Self.failure(handle) }
                facts = SessionFacts(result)
                continue
            }
            let events = unsent > 0 ? SocketWait.input | SocketWait.output : SocketWait.input
            try Self.wait(handle, events, deadline, wakeUp, interrupt)
            guard handle.consumeInput() else { throw Self.failure(handle) }
            if unsent > 0 { unsent = handle.flush() }
        }
        guard let facts else {
            throw PostgresError(.connectionFailed, advice: "what answered does not speak as PostgreSQL does")
        }
        return facts
    }

    private static func finishConnecting(
        _ handle: ConnectionHandle, _ deadline: ContinuousClock.Instant, _ wakeUp: WakeUp,
        _ interrupt: ConnectionInterrupt
    ) throws(PostgresError) {
        var polling = PGRES_POLLING_WRITING
        while true {
            switch polling {
            case PGRES_POLLING_OK: return
            case PGRES_POLLING_READING: try Self.wait(handle, SocketWait.input, deadline, wakeUp, interrupt)
            case PGRES_POLLING_WRITING: try Self.wait(handle, SocketWait.output, deadline, wakeUp, interrupt)
            default: throw Self.failure(handle)
            }
            polling = handle.poll()
        }
    }

    private static func wait(
        _ handle: ConnectionHandle, _ events: Int16, _ deadline: ContinuousClock.Instant, _ wakeUp: WakeUp,
        _ interrupt: ConnectionInterrupt
    ) throws(PostgresError) {
        switch SocketWait.wait(handle.socket, events, wakeUp: wakeUp, deadline: deadline) {
        case .ready: return
        case .interrupted:
            if !interrupt.pending.isEmpty { throw PostgresError(.cancelled, advice: "cancelled while connecting") }
        case .timedOut:
            throw PostgresError(
                .connectionFailed,
                advice: "no answer within the connect timeout; check host, port and firewall, and whether a pooler in "
                    + "between has a server connection free")
        }
    }

    /// Refuses what libpq cannot read, or would use for something else than it was meant for, without repeating it: the text
    /// may hold a password.
    static func check(_ connectionString: String) throws(PostgresError) {
        guard !connectionString.utf8.contains(0) else {
            throw PostgresError(.invalidConnectionString, advice: "it holds a NUL character")
        }
        guard !connectionString.isEmpty else { return }
        let known = Set(ConnectionOptionList.defaults().options.map(\.name))
        if let complaint = ConnectionStringReader(known: known).complaint(about: connectionString) {
            throw PostgresError(.invalidConnectionString, advice: complaint)
        }
        guard let options = ConnectionOptionList(parsing: connectionString) else {
            throw PostgresError(
                .invalidConnectionString,
                advice: "expected postgresql://user@host:port/database or keyword=value pairs; "
                    + "percent-encode special characters of a URL's parts")
        }
        if let complaint = options.complaint { throw PostgresError(.invalidConnectionString, advice: complaint) }
    }

    /// Whether a connection string refers to a service file.
    static func namesService(_ connectionString: String) -> Bool {
        guard !connectionString.isEmpty, let options = ConnectionOptionList(parsing: connectionString) else {
            return false
        }
        return options.options.contains { $0.name == "service" && $0.value != nil }
    }

    static func parameters(_ configuration: PostgresConfiguration, hasService: Bool) -> [(String, String)] {
        // A server that has vanished is noticed within a minute, also while a statement waits for it; by default the operating
        // system would take hours. What comes later overrides these. What a service file says could not, so with one it
        // alone decides.
        var parameters: [(String, String)] = []
        if !hasService {
            parameters = [
                ("keepalives_idle", "30"), ("keepalives_interval", "10"), ("keepalives_count", "3"),
                ("tcp_user_timeout", "45000"),
            ]
        }
        if !configuration.connectionString.isEmpty { parameters.append(("dbname", configuration.connectionString)) }
        if let database = configuration.database { parameters.append(("dbname", database)) }
        if let user = configuration.user { parameters.append(("user", user)) }
        if let password = configuration.password { parameters.append(("password", password)) }
        parameters.append(("fallback_application_name", configuration.applicationName))
        parameters.append(("client_encoding", "UTF8"))
        return parameters
    }

    /// The SQLSTATE in a verbose message, such as `FATAL:  28P01: password authentication failed`; the severity's word is
    /// in the server's language.
    static func sqlState(in message: String) -> String? {
        for part in message.split(separator: ":") {
            let word = part.drop { $0 == " " }
            guard part.hasPrefix("  "), word.count == 5 else { continue }
            if word.utf8.allSatisfy({ (48...57).contains($0) || (65...90).contains($0) }) { return String(word) }
        }
        return nil
    }

    private static func failure(_ handle: ConnectionHandle) -> PostgresError {
        let (message, sqlState) = (handle.errorMessage, self.sqlState(in: handle.errorMessage))
        return PostgresError(
            .connectionFailed, sqlState: sqlState,
            advice: "the server could not be reached or refused the login; check the host, port, user and password, "
                + "and that it accepts connections",
            serverMessage: message, isPermanent: sqlState == nil && LibpqComplaint.isPermanent(message))
    }
}

/// Waiting for a socket or a wake-up, whichever comes first.
enum SocketWait {
    case ready, interrupted, timedOut

    /// That there is something to read.
    static let input = Int16(truncatingIfNeeded: POLLIN)
    /// That there is room to write.
    static let output = Int16(truncatingIfNeeded: POLLOUT)

    static func wait(
        _ socket: Int32, _ events: Int16, wakeUp: WakeUp, deadline: ContinuousClock.Instant?
    ) -> SocketWait {
        while true {
            let timeout: Int32
            if let deadline {
                let now = ContinuousClock.now
                if deadline <= now { return .timedOut }
                // Rounded up, or the last millisecond would be spent spinning.
                timeout = Int32(clamping: now.duration(to: deadline).boundedMilliseconds + 1)
            } else {
                timeout = -1
            }
            var first = pollfd(fd: socket, events: events, revents: 0)
            var second = pollfd(fd: wakeUp.descriptor, events: Self.input, revents: 0)
            let ready = Self.poll(&first, &second, timeout)
            if ready == 0 {
                if let deadline, deadline > .now { continue }  // further off than poll can wait at a time
                return .timedOut
            }
            guard ready > 0 else { continue }  // EINTR
            if second.revents != 0 {
                wakeUp.clear()
                return .interrupted
            }
            return .ready
        }
    }

    private static func poll(_ first: inout pollfd, _ second: inout pollfd, _ timeout: Int32) -> Int32 {
        unsafe withUnsafeTemporaryAllocation(of: pollfd.self, capacity: 2) { descriptors in
            unsafe descriptors.initializeElement(at: 0, to: first)
            unsafe descriptors.initializeElement(at: 1, to: second)
            let ready = unsafe Glibc.poll(descriptors.baseAddress, 2, timeout)
            first = unsafe descriptors[0]
            second = unsafe descriptors[1]
            return ready
        }
    }
}
