import Glibc

/// Ports of 127.0.0.1.
enum LocalPort {
    /// A port nobody listens on: `preferred` if it is free, else one the kernel chooses.
    static func free(preferring preferred: Int?) throws -> Int {
        if let preferred, let port = self.bind(preferred) { return port }
        guard let port = self.bind(0) else { throw CommandError.system("no free port on 127.0.0.1", errno) }
        return port
    }

    private static func bind(_ port: Int) -> Int? {
        guard let number = UInt16(exactly: port) else { return nil }
        // can't trap: two small constants
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // As the server does, so that a port in TIME_WAIT counts as free.
        var yes: CInt = 1
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<CInt>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = number.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                unsafe Glibc.bind(descriptor, pointer, length) == 0 && getsockname(descriptor, pointer, &length) == 0
            }
        }
        return isBound ? Int(UInt16(bigEndian: address.sin_port)) : nil  // can't trap: 16 bits fit
    }
}
