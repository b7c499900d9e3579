import Synchronization

/// Counts the tasks of one pipeline that have lent their slots because they wait for other pipelines, and tells when the first
/// begins and the last ends to do so.
final class Lending: Sendable {
    private let count = Mutex(0)
    private let note: @Sendable (Bool) -> Void

    init(_ note: @escaping @Sendable (Bool) -> Void) { self.note = note }

    func begin() {
        let isFirst = self.count.withLock { count in
            count += 1
            return count == 1
        }
        if isFirst { self.note(true) }
    }

    func end() {
        let isLast = self.count.withLock { count in
            count -= 1
            return count == 0
        }
        if isLast { self.note(false) }
    }
}
