/// An error that knows whether trying again may help, and when.
///
/// ```swift
/// struct RateLimited: TransientError {
///     let retryAfter: Duration?
/// }
/// ```
///
/// This is the one definition of *transient* that ``RetryCondition/transientOnly`` goes by:
///
/// 1. An error that conforms is transient when it says so.
/// 2. ``WorkflowError``, `DecodingError`, `EncodingError` and `CancellationError` aren't: the next attempt would meet the
///    same data.
/// 3. Any other error is judged by the words of its text, with `timedOut` read as "timed out". It is transient when it speaks
///    of
///    - time: timeout, timed out, time out, deadline exceeded;
///    - connections: connection(s), network, disconnected, could not/cannot/failed to connect, broken pipe, reset by peer,
///      unreachable, no route to host;
///    - passing trouble: temporary, temporarily, unavailable, try again, busy, overloaded;
///    - limits: rate limit(ed), ratelimit(ed), throttled, throttling, too many requests, too many connections, too many clients,
///      too many open files, exhausted;
///    - concurrency: deadlock(ed), could not serialize, serialization failure, is locked, lock not available;
///    - the system's names for these: EAGAIN, EBUSY, ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EMFILE, ENETDOWN,
///      ENETUNREACH, ENFILE, ENOBUFS, EPIPE, ETIMEDOUT.
/// 4. A task that ran out of its time is transient; see ``TaskFailure/timedOut(after:)``.
///
/// Whole words count, so "busyness" isn't busy. Where words may mislead, conform.
public protocol TransientError: Error {
    /// Whether the same call may succeed later. True unless the type says otherwise.
    var isTransient: Bool { get }
    /// How long to wait before the next attempt, such as a server's `Retry-After`. Nil, the default, leaves it to the policy.
    var retryAfter: Duration? { get }
}

extension TransientError {
    /// True.
    public var isTransient: Bool { true }
    /// Nil: the policy decides.
    public var retryAfter: Duration? { nil }
}

/// Tells transient errors by the words of their text.
enum TransientWords {
    private static let phrases: [[UInt8]] = [
        "timeout", "timed out", "time out", "deadline exceeded",
        "connection", "connections", "network", "disconnected", "could not connect", "cannot connect",
        "failed to connect", "broken pipe", "reset by peer", "unreachable", "no route to host",
        "temporary", "temporarily", "unavailable", "try again", "busy", "overloaded",
        "rate limit", "rate limited", "ratelimit", "ratelimited", "throttled", "throttling", "too many requests",
        "too many connections", "too many clients", "too many open files", "exhausted",
        "deadlock", "deadlocked", "could not serialize", "serialization failure", "is locked", "lock not available",
        "eagain", "ebusy", "econnaborted", "econnrefused", "econnreset", "ehostunreach", "emfile", "enetdown",
        "enetunreach", "enfile", "enobufs", "epipe", "etimedout",
    ].map { Array(" \($0) ".utf8) }

    static func occur(in text: String) -> Bool {
        let words = self.words(of: text)
        return self.phrases.contains { words.containsRun(of: $0) }
    }

    /// The words in lower case with a space around each. A word ends where letters and digits do, and where `camelCase` or an
    /// `HTTPError` shows that it does.
    private static func words(of text: String) -> [UInt8] {
        let scalars = Array(text.unicodeScalars)
        var words: [UInt8] = [UInt8(ascii: " ")]
        for (position, scalar) in scalars.enumerated() {
            guard self.isPartOfWord(scalar) else {
                if words.last != UInt8(ascii: " ") { words.append(UInt8(ascii: " ")) }
                continue
            }
            if position > 0, words.last != UInt8(ascii: " "), scalar.properties.isUppercase {
                let followsLower = scalars[position - 1].properties.isLowercase
                let precedesLower = position + 1 < scalars.count && scalars[position + 1].properties.isLowercase
                if followsLower || precedesLower { words.append(UInt8(ascii: " ")) }
            }
            words += scalar.properties.lowercaseMapping.utf8
        }
        words.append(UInt8(ascii: " "))
        return words
    }

    private static func isPartOfWord(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isAlphabetic || scalar.properties.numericType != nil
    }
}
