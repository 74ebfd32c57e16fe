import com.google.gson.JsonObject;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import oauth.signpost.OAuthConsumer;
import oauth.signpost.OAuthProvider;
import oauth.signpost.commonshttp.CommonsHttpOAuthConsumer;
import oauth.signpost.commonshttp.CommonsHttpOAuthProvider;
import oauth.signpost.signature.HmacSha1MessageSigner;
import oauth.signpost.signature.PlainTextMessageSigner;
import org.apache.http.HttpEntity;
import org.apache.http.NameValuePair;
import org.apache.http.client.entity.UrlEncodedFormEntity;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpGet;
import org.apache.http.client.methods.HttpPost;
import org.apache.http.client.methods.HttpUriRequest;
import org.apache.http.entity.ContentType;
import org.apache.http.entity.FileEntity;
import org.apache.http.entity.StringEntity;
import org.apache.http.entity.mime.MultipartEntityBuilder;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.message.BasicNameValuePair;
import org.apache.http.util.EntityUtils;

/** Drives Signpost as its documentation says: it signs what Apache's HttpClient sends. */
public class SignpostDriver implements Matrix.Client {
    private final OAuthConsumer consumer;
    private final OAuthProvider provider;
    private String authorizeUrl;

    public static void main(String[] argv) throws Exception {
        JsonObject args = Matrix.arguments(argv);
        Matrix.run(new SignpostDriver(args), args);
    }

    SignpostDriver(JsonObject args) {
        consumer = new CommonsHttpOAuthConsumer(
                Matrix.text(args, "consumer"), Matrix.text(args, "consumer_secret"));
        boolean plaintext = Matrix.text(args, "method").equals("PLAINTEXT");
        consumer.setMessageSigner(
                plaintext ? new PlainTextMessageSigner() : new HmacSha1MessageSigner());
        JsonObject endpoints = args.getAsJsonObject("endpoints");
        provider = new CommonsHttpOAuthProvider(
                Matrix.text(endpoints, "request_token"), Matrix.text(endpoints, "access_token"),
                Matrix.text(endpoints, "authorize"));
    }

    @Override
    public String requestToken(String callback) throws Exception {
        authorizeUrl = provider.retrieveRequestToken(consumer, callback);
        return String.valueOf(provider.isOAuth10a());
    }

    @Override
    public String authorizeUrl() {
        return authorizeUrl;
    }

    @Override
    public void accessToken(String verifier) throws Exception {
        provider.retrieveAccessToken(consumer, verifier);
    }

    @Override
    public void withToken(String key, String secret) {
        consumer.setTokenWithSecret(key, secret);
    }

    @Override
    public String[] token() {
        return new String[] {consumer.getToken(), consumer.getTokenSecret()};
    }

    @Override
    public int send(JsonObject r) throws Exception {
        HttpUriRequest request = new HttpGet(Matrix.text(r, "url"));
        HttpEntity entity = entity(r);
        if (entity != null) {
            HttpPost post = new HttpPost(Matrix.text(r, "url"));
            post.setEntity(entity);
            request = post;
        }
        consumer.sign(request);
        try (CloseableHttpClient client = HttpClients.createDefault();
                CloseableHttpResponse response = client.execute(request)) {
            EntityUtils.consume(response.getEntity());
            return response.getStatusLine().getStatusCode();
        }
    }

    /** The body of a request that has one, as HttpClient's users make it. */
    private static HttpEntity entity(JsonObject r) {
        switch (Matrix.text(r, "kind")) {
            case "form":
                List<NameValuePair> form = new ArrayList<>();
                for (String[] pair : Matrix.rows(r, "form")) {
                    form.add(new BasicNameValuePair(pair[0], pair[1]));
                }
                return new UrlEncodedFormEntity(form, StandardCharsets.UTF_8);
            case "multipart":
                MultipartEntityBuilder parts = MultipartEntityBuilder.create();
                for (String[] pair : Matrix.rows(r, "form")) {
                    parts.addTextBody(pair[0], pair[1]);
                }
                for (String[] file : Matrix.rows(r, "files")) {
                    byte[] text = file[3].getBytes(StandardCharsets.UTF_8);
                    parts.addBinaryBody(file[0], text, ContentType.parse(file[2]), file[1]);
                }
                return parts.build();
            case "json":
                return new StringEntity(Matrix.text(r, "body"), ContentType.APPLICATION_JSON);
            case "upload":
                ContentType type = ContentType.parse(Matrix.text(r, "content_type"));
                return new FileEntity(new File(Matrix.text(r, "body_file")), type);
            default:
                return null;
        }
    }
}
