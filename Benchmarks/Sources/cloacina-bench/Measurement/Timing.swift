import Foundation

/// Repeats an operation on the cooperative pool until the time is up.
///
/// - Returns: Microseconds for each.
@concurrent
func microsecondsEach(for slice: Duration, _ operation: @Sendable () async throws -> Void) async throws -> Double {
    let start = ContinuousClock.now
    var count = 0
    var elapsed = Duration.zero
    repeat {
        try await operation()
        count += 1
        elapsed = start.duration(to: .now)
    } while elapsed < slice
    return elapsed.microseconds / Double(count)
}

/// Repeats a blocking operation on the calling thread until the time is up.
///
/// - Returns: Microseconds for each.
func blockingMicrosecondsEach(for slice: Duration, _ operation: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    var count = 0
    var elapsed = Duration.zero
    repeat {
        try operation()
        count += 1
        elapsed = start.duration(to: .now)
    } while elapsed < slice
    return elapsed.microseconds / Double(count)
}

/// The milliseconds that an operation takes.
func milliseconds(_ operation: () async throws -> Void) async rethrows -> Double {
    let start = ContinuousClock.now
    try await operation()
    return start.duration(to: .now).microseconds / 1_000
}

/// Runs blocking work on a thread made for it, so that it holds up no task.
func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

extension Duration {
    var seconds: Double { Double(self.components.seconds) + Double(self.components.attoseconds) * 1e-18 }
    var microseconds: Double { self.seconds * 1_000_000 }
}
