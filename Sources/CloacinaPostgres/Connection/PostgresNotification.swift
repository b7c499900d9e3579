/// A message that arrived through `LISTEN`.
public struct PostgresNotification: Sendable, Hashable {
    /// The channel it was sent on.
    public let channel: String
    /// Its text; empty when the sender gave none.
    public let payload: String
    /// The process id of the sending backend.
    public let senderPID: Int32
}
