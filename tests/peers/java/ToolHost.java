import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main classes of Kafka's tools one after another in one JVM, which saves a start of a second and a half each.
 *
 * <p>A line in is a call: fields in base64, separated by a blank: the main class, what its standard input holds, its
 * arguments. A line out is its end: the exit code, and what it wrote to standard output and to standard error in base64.
 * A tool that leaves by {@code Exit} comes back here; one that calls {@code System.exit} must be run on its own.
 */
public final class ToolHost {
    /** Unwinds a tool that has left. */
    private static final class Left extends Error {
        Left() {
            super(null, null, false, false);
        }
    }

    /** How a call ends. */
    private record End(int code, byte[] out, byte[] err) {
        @Override
        public String toString() {
            return code + " " + Base64.getEncoder().encodeToString(out) + " " + Base64.getEncoder().encodeToString(err);
        }
    }

    private static ByteArrayOutputStream out;
    private static ByteArrayOutputStream err;
    /** The end of the call that runs, once it has left. Some tools catch the unwinding and would leave once more. */
    private static End end;

    private ToolHost() {}

    public static void main(String[] args) throws Exception {
        PrintStream answers = System.out;
        BufferedReader calls = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        Exit.setExitProcedure((code, message) -> leave(code));
        Exit.setHaltProcedure((code, message) -> leave(code));
        Exit.setShutdownHookAdder((name, hook) -> { });
        for (String line = calls.readLine(); line != null; line = calls.readLine()) {
            String[] fields = Arrays.stream(line.split(" ", -1)).map(ToolHost::decode).toArray(String[]::new);
            InputStream in = new ByteArrayInputStream(fields[1].getBytes(StandardCharsets.UTF_8));
            answers.println(call(fields[0], in, Arrays.copyOfRange(fields, 2, fields.length)));
            answers.flush();
        }
    }

    private static synchronized void leave(int code) {
        if (end == null) {
            System.out.flush();
            System.err.flush();
            end = new End(code, out.toByteArray(), err.toByteArray());
        }
        throw new Left();
    }

    private static End call(String main, InputStream in, String[] args) {
        end = null;
        out = new ByteArrayOutputStream();
        err = new ByteArrayOutputStream();
        System.setIn(in);
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        int code = 0;
        try {
            // Scala's Console keeps the streams it saw first, so Scala's tools are told of the new ones.
            scala.Console.withOut(System.out, () -> scala.Console.withErr(System.err, () -> {
                invoke(main, args);
                return null;
            }));
        } catch (Throwable error) {
            if (end == null) {
                error.printStackTrace(System.err);
                code = 70;
            }
        }
        System.out.flush();
        System.err.flush();
        return end == null ? new End(code, out.toByteArray(), err.toByteArray()) : end;
    }

    private static void invoke(String main, String[] args) {
        try {
            Class.forName(main).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException e) {
            throw sneak(e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalArgumentException(e);
        }
    }

    @SuppressWarnings("unchecked")
    private static <T extends Throwable> RuntimeException sneak(Throwable error) throws T {
        throw (T) error;
    }

    private static String decode(String field) {
        return new String(Base64.getDecoder().decode(field), StandardCharsets.UTF_8);
    }
}
