import CLibPQ
import Glibc

/// The notifications that arrive on a connection, in order. Ends when the connection does, by throwing.
public struct PostgresNotifications: AsyncSequence, Sendable {
    /// What the sequence holds.
    public typealias Element = PostgresNotification

    let connection: PostgresConnection

    /// Starts reading. Two readers of one connection would share the notifications between them.
    public func makeAsyncIterator() -> Iterator { Iterator(connection: self.connection) }

    /// Waits for one notification after the other.
    public struct Iterator: AsyncIteratorProtocol {
        let connection: PostgresConnection

        /// Waits for the next notification.
        ///
        /// - Throws: ``PostgresError``; ``PostgresError/Code/cancelled`` when the task is cancelled.
        public mutating func next() async throws(PostgresError) -> PostgresNotification? {
            try await self.connection.nextNotification()
        }
    }
}

extension PostgresConnection {
    /// Starts listening on a channel; ``notifications`` then delivers what is sent there.
    ///
    /// - Throws: ``PostgresError``; ``PostgresError/Code/poolerUnsupported`` behind a pooler that hands sessions on.
    public func listen(on channel: String, fileID: String = #fileID, line: Int = #line) async throws(PostgresError) {
        let statement = PostgresStatement("LISTEN \(PostgresIdentifier.quote(channel))", prepared: false)
        _ = try await self.pipeline([statement], deadline: nil, fileID: fileID, line: line)
    }

    /// Stops listening on a channel.
    public func unlisten(on channel: String, fileID: String = #fileID, line: Int = #line) async throws(PostgresError) {
        let statement = PostgresStatement("UNLISTEN \(PostgresIdentifier.quote(channel))", prepared: false)
        _ = try await self.pipeline([statement], deadline: nil, fileID: fileID, line: line)
    }

    /// What is sent on the channels that the connection listens on.
    ///
    /// Other statements may run meanwhile, from other tasks.
    public nonisolated var notifications: PostgresNotifications { PostgresNotifications(connection: self) }

    func nextNotification() async throws(PostgresError) -> PostgresNotification {
        while true {
            let found = try await self.interruptible(#fileID, #line) { connection throws(PostgresError) in
                try connection.waitForNotification()
            }
            if let found { return found }
            await Task.yield()  // a statement of another task wants the thread
        }
    }

    /// Waits until a notification arrives, or until another job wants the thread: then `nil`.
    private func waitForNotification() throws(PostgresError) -> PostgresNotification? {
        while true {
            guard self.handle.isOpen else { throw PostgresError(.connectionClosed) }
            guard self.handle.consumeInput() else { throw self.broken() }
            if let notification = self.handle.nextNotification() { return notification }
            guard self.thread.beginYielding() else { return nil }
            let ended = SocketWait.wait(self.handle.socket, SocketWait.input, wakeUp: self.thread.wakeUp, deadline: nil)
            self.thread.endYielding()
            guard case .interrupted = ended else { continue }
            let pending = self.interrupt.pending
            if pending.contains(.close) {
                throw self.broken(PostgresError(.connectionClosed, advice: "it was aborted"))
            }
            if pending.contains(.cancel) { throw PostgresError(.cancelled) }
            return nil
        }
    }
}
