import CLibPQ
import COpenSSL
import Glibc

/// Owns one `PGconn`, and the only place that calls libpq on it.
///
/// Not `Sendable`: it lives inside one actor and is touched on that actor's thread only.
@safe final class ConnectionHandle {
    private var pointer: OpaquePointer?
    /// The server's remarks; libpq knows it by its address, so it lives as long as the pointer.
    let notices = NoticeLog()

    /// Starts connecting; nothing waits here except name resolution.
    init(starting parameters: [(String, String)], expandsFirst: Bool) {
        let keywords = unsafe parameters.map { unsafe strdup($0.0) }
        let values = unsafe parameters.map { unsafe strdup($0.1) }
        defer {
            unsafe (keywords + values).forEach { unsafe free($0) }
        }
        unsafe self.pointer = unsafe Self.withConstPointers(keywords) { keywords in
            unsafe Self.withConstPointers(values) { values in
                unsafe PQconnectStartParams(keywords, values, expandsFirst ? 1 : 0)
            }
        }
        if let pointer = unsafe self.pointer {
            // libpq would print notices to standard error.
            let receiver = unsafe Unmanaged.passUnretained(self.notices).toOpaque()
            unsafe PQsetNoticeReceiver(
                pointer,
                { log, result in
                    guard let log = unsafe log else { return }
                    unsafe Unmanaged<NoticeLog>.fromOpaque(log).takeUnretainedValue().add(result)
                }, receiver)
            // A refused login comes without a result; the SQLSTATE is only in the verbose form of its message.
            _ = unsafe PQsetErrorVerbosity(pointer, PQERRORS_VERBOSE)
        }
    }

    deinit { self.finish() }

    private static func withConstPointers<R>(
        _ strings: [UnsafeMutablePointer<CChar>?], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> R
    ) -> R {
        var pointers = unsafe strings.map { unsafe UnsafePointer($0) }
        unsafe pointers.append(nil)
        return unsafe pointers.withUnsafeBufferPointer { buffer in
            // The array ends in nil, so the buffer is never empty and always has an address.
            guard let start = buffer.baseAddress else { preconditionFailure("an array with an element") }
            return unsafe body(start)
        }
    }

    func finish() {
        unsafe PQfinish(self.pointer)
        unsafe self.pointer = nil
        // This thread may end while the process does, which frees the rest of OpenSSL: nothing of it is left to the thread then.
        OPENSSL_thread_stop()
    }

    var isOpen: Bool { unsafe self.pointer != nil }
    var isGood: Bool { unsafe PQstatus(self.pointer) == CONNECTION_OK }
    var isBad: Bool { unsafe PQstatus(self.pointer) == CONNECTION_BAD }
    var socket: Int32 { unsafe PQsocket(self.pointer) }
    func poll() -> PostgresPollingStatusType { unsafe PQconnectPoll(self.pointer) }
    func setNonblocking() -> Bool { unsafe PQsetnonblocking(self.pointer, 1) == 0 }
    var backendPID: Int32 { unsafe PQbackendPID(self.pointer) }
    var serverVersion: Int { unsafe Int(clamping: PQserverVersion(self.pointer)) }
    var errorMessage: String { unsafe String(cString: PQerrorMessage(self.pointer)) }
    var isEncrypted: Bool { unsafe PQsslInUse(self.pointer) == 1 }
    var transactionStatus: PGTransactionStatusType { unsafe PQtransactionStatus(self.pointer) }

    func parameter(_ name: String, equals value: String) -> Bool? {
        guard let found = unsafe PQparameterStatus(self.pointer, name) else { return nil }
        return unsafe strcmp(found, value) == 0
    }

    func enterPipelineMode() -> Bool { unsafe PQenterPipelineMode(self.pointer) == 1 }
    func exitPipelineMode() -> Bool { unsafe PQexitPipelineMode(self.pointer) == 1 }
    func sync() -> Bool { unsafe PQpipelineSync(self.pointer) == 1 }
    /// 0: everything is sent; 1: the socket is full; -1: the connection is broken.
    func flush() -> Int32 { unsafe PQflush(self.pointer) }
    func consumeInput() -> Bool { unsafe PQconsumeInput(self.pointer) == 1 }
    var isBusy: Bool { unsafe PQisBusy(self.pointer) == 1 }

    func nextResult() -> ResultHandle? {
        guard let result = unsafe PQgetResult(self.pointer) else { return nil }
        return unsafe ResultHandle(adopting: result)
    }

    func sendQuery(_ sql: String) -> Bool { unsafe PQsendQuery(self.pointer, sql) == 1 }

    func sendPrepare(name: String, sql: String, types: [UInt32]) -> Bool {
        unsafe types.withUnsafeBufferPointer { types in
            unsafe PQsendPrepare(self.pointer, name, sql, Int32(clamping: types.count), types.baseAddress) == 1
        }
    }

    func sendDescribe(name: String) -> Bool { unsafe PQsendDescribePrepared(self.pointer, name) == 1 }

    func sendPrepared(name: String, _ encoder: borrowing BindEncoder, _ scratch: inout BindScratch) -> Bool {
        unsafe encoder.bytes.withUnsafeBytes { bytes in
            unsafe scratch.fill(encoder.binds, bytes)
            return unsafe PQsendQueryPrepared(
                self.pointer, name, Int32(clamping: encoder.binds.count), scratch.values, scratch.lengths,
                scratch.formats, 1)
                == 1
        }
    }

    func sendParameters(sql: String, _ encoder: borrowing BindEncoder, _ scratch: inout BindScratch) -> Bool {
        let types = encoder.binds.map(\.type)
        return unsafe encoder.bytes.withUnsafeBytes { bytes in
            unsafe scratch.fill(encoder.binds, bytes)
            return unsafe PQsendQueryParams(
                self.pointer, sql, Int32(clamping: encoder.binds.count), types, scratch.values, scratch.lengths,
                scratch.formats, 1) == 1
        }
    }

    /// 1: taken; 0: the buffer is full; -1: an error. At most 2 GB at a time.
    func putCopyData(_ bytes: ArraySlice<UInt8>) -> Int32 {
        unsafe bytes.withUnsafeBytes { buffer in
            unsafe PQputCopyData(
                self.pointer, buffer.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(clamping: buffer.count))
        }
    }

    func putCopyEnd(error: String?) -> Int32 { unsafe PQputCopyEnd(self.pointer, error) }

    /// The next notification that has arrived: its channel, payload and sender.
    func nextNotification() -> PostgresNotification? {
        guard let notify = unsafe PQnotifies(self.pointer) else { return nil }
        defer { unsafe PQfreemem(notify) }
        return unsafe PostgresNotification(
            channel: String(cString: notify.pointee.relname), payload: String(cString: notify.pointee.extra),
            senderPID: notify.pointee.be_pid)
    }

    func makeCancelRequest() -> CancelRequest? {
        guard let wakeUp = WakeUp(), let cancel = unsafe PQgetCancel(self.pointer) else { return nil }
        return unsafe CancelRequest(adopting: cancel, wakeUp)
    }

    func endpoint() -> PostgresEndpoint {
        func text(_ pointer: UnsafeMutablePointer<CChar>?) -> String {
            guard let pointer = unsafe pointer else { return "" }
            return unsafe String(cString: pointer)
        }
        return unsafe PostgresEndpoint(
            host: text(PQhost(self.pointer)), port: Int(text(PQport(self.pointer))) ?? 5432,
            database: text(PQdb(self.pointer)), user: text(PQuser(self.pointer)), options: self.plainOptions(),
            isEncrypted: self.isEncrypted)
    }

    /// The options in force, wherever they come from.
    var options: ConnectionOptionList { unsafe ConnectionOptionList(adopting: PQconninfo(self.pointer)) }

    /// The options in force that were set and are no secret.
    private func plainOptions() -> [String: String] {
        let known: Set<String> = ["host", "port", "dbname", "user", "password", "sslpassword", "passfile"]
        var plain: [String: String] = [:]
        for option in self.options.options where !option.isSecret && !known.contains(option.name) {
            if let value = option.value { plain[option.name] = value }
        }
        return plain
    }
}

/// The pointer arrays that libpq wants beside the bytes of the binds; kept to spare an allocation per statement.
@safe struct BindScratch {
    private(set) var values: [UnsafePointer<CChar>?] = unsafe []
    private(set) var lengths: [Int32] = []
    private(set) var formats: [Int32] = []

    /// Fills the arrays with pointers into `bytes`, which must stay where it is until libpq has copied the values.
    mutating func fill(_ binds: [BindEncoder.Bind], _ bytes: UnsafeRawBufferPointer) {
        unsafe self.values.removeAll(keepingCapacity: true)
        self.lengths.removeAll(keepingCapacity: true)
        self.formats.removeAll(keepingCapacity: true)
        for bind in binds {
            if bind.offset < 0 {
                unsafe self.values.append(nil)
            } else {
                // An empty buffer has no address; an empty value still needs one, or it would be NULL.
                let start = unsafe bytes.baseAddress.map { unsafe $0 + bind.offset } ?? Self.emptyValue
                unsafe self.values.append(start.assumingMemoryBound(to: CChar.self))
            }
            self.lengths.append(bind.length)
            self.formats.append(bind.format)
        }
    }

    /// One NUL byte that lives as long as the process and never changes, which makes sharing it safe.
    private nonisolated(unsafe) static let emptyValue: UnsafeRawPointer = {
        let byte = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
        unsafe byte.storeBytes(of: 0, as: UInt8.self)
        return UnsafeRawPointer(byte)
    }()
}
