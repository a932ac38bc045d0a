import './index.css';
import './badges.css';
import './form.css';
import './images.css';
import './panel.css';
